touch f; chattr +i f; rm -f f; ls; chattr -i f
