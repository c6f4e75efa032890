python3 - <<'END'
import os
os.close(os.open("f", os.O_CREAT | os.O_WRONLY))
fd = os.open("f", os.O_PATH)
os.unlink("f")
try:
    os.open("/proc/self/fd/%d" % fd, os.O_RDONLY)
    print("open")
except OSError as e:
    print(e.strerror)
END
