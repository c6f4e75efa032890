python3 - <<'END'
import os
os.mkdir("a"); f = os.open("a/f", os.O_RDWR | os.O_CREAT); d = os.open("a", os.O_RDONLY)
os.rename("a", "b"); os.write(f, b"x")
print(os.listdir(d), os.stat("f", dir_fd=d).st_size)
os.rename("b/f", "b/g"); os.write(f, b"y")
print(open("b/g").read()); os.unlink("b/g"); print(os.pread(f, 9, 0))
END
