echo a > h1; ln h1 h2; rm h1; echo b >> h2; ln h2 h3; mv h2 h4; cat h3 h4; stat -c %h h4; mv h3 h4; ls
ln -s "$(printf %04000d 1)" s; readlink s | wc -c; ln -s "$(printf %05000d 1)" t 2>&1 | grep -o 'File name too long'
ln -s h4 l; ln l l2; readlink l2; mkdir d d/a d/b; stat -c %h d; rmdir d/a; stat -c %h d
