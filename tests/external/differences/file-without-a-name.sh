python3 - <<'END'
import os
try:
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644)
    print(os.write(fd, b"hi"))
except OSError as e:
    print(e.strerror)
END
