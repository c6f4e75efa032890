mkdir -p d/e; : > d/e/f; cd d/e; rm -r ../../d; stat -c %h .; cat f; ls -A
