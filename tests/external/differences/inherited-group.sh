mkdir g; chgrp daemon g; chmod 2755 g; touch g/f; mkdir g/s; stat -c '%G %a' g/f g/s
