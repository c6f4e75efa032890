python3 - <<'END'
import os
def tried(what, *words, **more):
    try:
        print(what(*words, **more))
    except OSError as e:
        print(e.strerror)
os.close(os.open("f", os.O_CREAT | os.O_WRONLY)); os.symlink("f", "l")
tried(os.setxattr, "f", "user.k", b"v" * 1000)
tried(os.setxattr, "f", "trusted.t", b"1")
print(sorted(os.listxattr("f")))
tried(os.getxattr, "f", "user.none")
tried(os.setxattr, "f", "user.k", b"", os.XATTR_CREATE)
tried(os.setxattr, "f", "user.none", b"", os.XATTR_REPLACE)
tried(os.setxattr, "f", "user.big", b"v" * 65537)
tried(os.setxattr, "f", "nosuch.k", b"v")
tried(os.setxattr, "l", "user.k", b"v", follow_symlinks=False)
tried(os.setxattr, "l", "trusted.k", b"v", follow_symlinks=False)
tried(os.removexattr, "f", "user.k")
print(sorted(os.listxattr("f")), os.listxattr("l", follow_symlinks=False))
END
