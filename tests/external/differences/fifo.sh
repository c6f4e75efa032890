mkfifo p; (echo through > p &); cat p; stat -c %F p
