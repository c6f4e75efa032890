as() { setpriv --reuid "$1" --regid "$1" --clear-groups sh -c "$2"; stat -c %a f; }
: > f; fresh() { chmod 6777 f; stat -c %a f; }
fresh; as 1 'echo x >> f'
fresh; as 2 'truncate -s 1 f'
fresh; as 2 'fallocate -l 100 f'
fresh; chown 1:1 f; stat -c %a f
