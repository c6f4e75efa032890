mkdir d; chmod 777 d; cd d
setpriv --reuid 1 --regid 1 --clear-groups python3 - <<'END'
import os
fd = os.open("f", os.O_RDWR | os.O_CREAT, 0)
os.write(fd, b"x"); os.ftruncate(fd, 10); os.fsync(fd); os.utime(fd, (5, 5))
print(os.pread(fd, 1, 0), oct(os.fstat(fd).st_mode), os.fstat(fd).st_mtime)
os.fchmod(fd, 0o400); os.unlink("f")
print(os.fstat(fd).st_nlink)
END
