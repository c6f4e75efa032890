mknod n c 1 3; stat -c '%t,%T %F' n; cat n
