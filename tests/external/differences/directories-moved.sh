mkdir -p a/x b/y; mv -T a b; mv -T b/y a; mv -T a/x a; mv a a/x; ls -R
