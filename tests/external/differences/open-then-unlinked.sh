python3 - <<'END'
import os
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.write(fd, b"abc"); os.unlink("f"); os.ftruncate(fd, 1); os.fchmod(fd, 0o600); os.utime(fd, (1, 1))
os.setxattr(fd, "user.a", b"1")
s = os.fstat(fd)
print(s.st_nlink, s.st_size, oct(s.st_mode), s.st_mtime, os.getxattr(fd, "user.a"))
again = os.open("/proc/self/fd/%d" % fd, os.O_RDWR)
os.write(again, b"Z")
print(os.pread(fd, 10, 0))
END
