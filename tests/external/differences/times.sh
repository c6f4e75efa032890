touch -d '1969-12-31 23:59:58.5 UTC' f; stat -c %.9Y f
touch -d '2200-01-01 UTC' f; stat -c %Y f
touch -d '1901-12-14 UTC' f; stat -c %Y f
