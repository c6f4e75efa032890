truncate -s 1G s; stat -c '%b %s' s; cp --sparse=always s s2; stat -c '%b %s' s2
python3 - <<'END'
import os
fd = os.open("h", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x", 1 << 20)
print(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 1 << 20, os.SEEK_HOLE))
try:
    os.lseek(fd, 1 << 30, os.SEEK_DATA)
except OSError as e:
    print(e.strerror)
END
