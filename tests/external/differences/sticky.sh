mkdir s; chmod 1777 s
setpriv --reuid 1 --regid 1 --clear-groups touch s/f
setpriv --reuid 2 --regid 2 --clear-groups rm -f s/f
setpriv --reuid 1 --regid 1 --clear-groups rm -f s/f; ls s
