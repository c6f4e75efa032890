for writer in 1 2 3 4; do (for n in $(seq 200); do echo xxxxxxxxxx >> f; done) & done
wait; wc -c < f; sort -u f
