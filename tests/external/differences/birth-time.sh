: > f; stat -c %w f | cut -c 1-2
