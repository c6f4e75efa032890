mkdir -p a/below; echo b > b
python3 - <<'END'
import os
fd = os.open("a/below", os.O_RDONLY)
os.rename("a", "c"); os.rename("b", "a"); os.rename("c", "b")
print(os.listdir("b"), open("a").read(), os.fstat(fd).st_nlink)
END
