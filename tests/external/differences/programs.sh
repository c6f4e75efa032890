cp /bin/true t; ./t; echo $?
(exec 3>>t; ./t) 2>&1 | grep -o 'Text file busy'
printf '#!/bin/sh\necho script' > s; chmod +x s; ./s; chmod -x s; ./s 2>&1 | grep -o 'Permission denied'
