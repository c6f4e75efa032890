fallocate -l 1M f; fallocate -c -o 0 -l 4096 f; stat -c %s f; fallocate -i -o 0 -l 8192 f; stat -c %s f
