python3 - <<'END'
import os
os.close(os.open("f", os.O_CREAT | os.O_WRONLY))
fd = os.open("f", os.O_PATH)
os.unlink("f")
print(os.fstat(fd).st_nlink)
END
