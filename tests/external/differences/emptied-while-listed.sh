mkdir d; cd d; seq 3000 | xargs touch; ls | wc -l
python3 - <<'END'
import os
gone = 0
for entry in os.scandir("."):
    os.unlink(entry.name); gone += 1
print(gone, os.listdir("."))
END
