python3 - <<'END'
import os
name = "e" * 40
for _ in range(120):
    os.mkdir(name); os.chdir(name)
fd = os.open("x", os.O_RDWR | os.O_CREAT)
os.write(fd, b"hi"); os.mkdir("q"); os.rename("x", "y"); os.link("y", "z"); os.symlink("y", "s")
print(os.pread(fd, 9, 0), sorted(os.listdir(".")), os.stat("s").st_nlink)
END
rm -r eeee*; ls
