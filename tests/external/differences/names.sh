touch "$(printf %0255d 1)"; touch "$(printf %0256d 1)"; touch 'a
b' ' ' '\' '*'; printf '\377' | xargs touch; ls -b
