python3 - <<'END'
import os
a = os.open("a", os.O_RDWR | os.O_CREAT)
b = os.open("b", os.O_RDWR | os.O_CREAT)
os.write(a, b"q" * 100000)
print(os.copy_file_range(a, b, 100000), os.fstat(b).st_size)
print(os.sendfile(b, a, 0, 5000), os.fstat(b).st_size)
r, w = os.pipe()
print(os.splice(a, w, 5000, offset_src=0) if hasattr(os, "splice") else 5000, os.fstat(a).st_size)
END
