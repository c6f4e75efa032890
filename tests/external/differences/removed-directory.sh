mkdir d; cd d; rmdir ../d
stat -c %h .; ls -A; touch x; mkdir y; cat z
