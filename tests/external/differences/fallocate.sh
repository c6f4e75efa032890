fallocate -l 1M f; fallocate -p -o 4096 -l 8192 f; fallocate -z -o 0 -l 4096 f; fallocate -n -o 1M -l 1M f
stat -c '%s %b' f
