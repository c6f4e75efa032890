//! The table: script (for bash, in the instance's directory), exit code, and what is printed, errors included.

use Words::{Are, Have};

/// A script, its exit code and its words.
pub(crate) struct Row(pub(crate) &'static str, pub(crate) i32, pub(crate) Words);

/// What is printed, without the last newline.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Words {
    /// Exactly this.
    Are(&'static str),
    /// This among others.
    Have(&'static str),
}

/// An instance of type firewall that is not deployed.
#[rustfmt::skip]
pub(crate) const UNDEPLOYED: &[Row] = &[
    // Values: whole, whichever way they are read.
    Row("cat status", 0, Are("undeployed")),
    Row("busybox cat status", 0, Are("undeployed")),
    Row("head -n 1 status", 0, Are("undeployed")),
    Row("head -c 4 status", 0, Are("unde")),
    Row("busybox head -c 4 status", 0, Are("unde")),
    Row("dd if=status bs=3 skip=1 count=2 status=none", 0, Are("eploye")),
    Row("dd if=status bs=1M status=none", 0, Are("undeployed")),
    Row("od -An -c status | head -n 1", 0, Have("u   n   d   e")),
    Row("tr a-z A-Z < status", 0, Are("UNDEPLOYED")),
    Row("sort status action | tail -n 1", 0, Are("undeployed")),
    Row("grep -c undeployed status", 0, Are("1")),
    Row("grep -q running status", 1, Are("")),
    Row("awk '{print length($1)}' status", 0, Are("10")),
    Row("sed s/un// status", 0, Are("deployed")),
    Row("dash -c 'read -r word < status; echo $word'", 0, Are("undeployed")),
    Row("bash -c 'read -r word < status; echo $word'", 0, Are("undeployed")),
    Row("busybox sh -c 'read -r word < status; echo $word'", 0, Are("undeployed")),
    Row("echo $(< status)", 0, Are("undeployed")),
    Row("mapfile -t lines < status; echo ${#lines[@]}", 0, Are("1")),
    Row("cp status config/copy && cat config/copy && rm config/copy", 0, Are("undeployed")),
    Row("busybox cp status config/copy && cat config/copy && rm config/copy", 0, Are("undeployed")),
    Row("cmp status <(echo undeployed)", 0, Are("")),
    Row("diff status <(echo undeployed)", 0, Are("")),
    Row("md5sum < status | cut -c 1-4; echo undeployed | md5sum | cut -c 1-4", 0, Have("\n")),
    Row("python3 -c 'print(open(\"status\").read(), end=\"\")'", 0, Are("undeployed")),
    Row("python3 -c 'f=open(\"status\"); f.read(); f.seek(2); print(f.read(), end=\"\")'", 0, Are("deployed")),
    // The size is the manual's constant: who believes it is wrong by it, and says so.
    Row("stat -c '%s %F' status", 0, Are("1000 regular file")),
    Row("ls -l status | cut -c 1-10", 0, Are("-r--r--r--")),
    Row("wc -l < status", 0, Are("1")),
    Row("tail -n 1 status", 0, Are("undeployed")),
    Row("busybox tail -n 1 status", 0, Are("undeployed")),
    Row("busybox wc -c < status", 0, Are("11")),
    // What is not there without a guest has its errno.
    Row("cat machine/vm.ip", 1, Are("cat: machine/vm.ip: No such device or address")),
    Row("cat stats/rx_bytes", 1, Are("cat: stats/rx_bytes: No such device or address")),
    Row("busybox cat stats/rx_bytes", 1, Are("cat: read error: No such device or address")),
    Row("cat last_error output log", 0, Are("")),
    // Values are not written, also not by root.
    Row("echo x > status", 1, Have("Permission denied")),
    Row("dash -c 'echo x > status'", 2, Have("Permission denied")),
    Row("echo x | tee status", 1, Have("tee: status: Permission denied")),
    Row("truncate -s 0 status", 1, Have("Permission denied")),
    Row("dd if=/dev/zero of=status count=1 status=none", 1, Have("Permission denied")),
    Row("cp /dev/null status", 1, Have("Permission denied")),
    // Verbs: the shell's write fails with the errno, whose name bash tells; dash says "I/O error" for any.
    Row("echo stop > action", 1, Have("No such device or address")),
    Row("dash -c 'echo stop > action'", 1, Have("I/O error")),
    Row("busybox sh -c 'echo stop > action'", 1, Have("No such device or address")),
    Row("echo frobnicate > action", 1, Have("Invalid argument")),
    Row("cat last_error | head -n 1", 0, Have("721")),
    Row("printf stop | dd of=action status=none", 1, Have("No such device or address")),
    Row("echo stop | tee action > /dev/null", 1, Have("No such device or address")),
    Row("python3 -c 'with open(\"action\",\"w\") as f: f.write(\"stop\")'", 1, Have("OSError: [Errno 6]")),
    // What Python writes only when it clears a file away fails without a word: Python's own way with destructors.
    Row("python3 -c 'open(\"action\",\"w\").write(\"stop\")'", 0, Are("")),
    Row("echo undeployed > action", 0, Are("")),
    Row("cat last_error", 0, Are("")),
    Row("echo '# nothing' >> action; echo > action", 0, Are("")),
    Row("head -n 1 action", 0, Have("# last: ")),
    Row("cp action config/copy && cp config/copy action && rm config/copy", 0, Are("")),
    Row("echo true > command", 1, Have("No such device or address")),
    // Names of special files stay where they are.
    Row("mv status elsewhere", 1, Have("Operation not permitted")),
    Row("ln status elsewhere", 1, Have("Operation not permitted")),
    Row("ln -s status config/link && cat config/link", 1, Have("No such file")),
    Row("ln -sf ../status config/link && cat config/link && rm config/link", 0, Are("undeployed")),
    Row("sed -i s/un// status", 4, Have("Operation not permitted")),
    Row("python3 -c 'import os; open(\"config/n\",\"w\"); os.replace(\"config/n\",\"status\")'", 1, Have("PermissionError: [Errno 1]")),
    Row("rm -f config/n; chmod 600 action && stat -c %a action && chmod 644 action", 0, Are("600")),
    Row("chown 1:1 status && stat -c %u:%g status && chown 0:0 status", 0, Are("1:1")),
    Row("touch -d 2001-02-03 action && stat -c %y action | cut -c 1-10", 0, Are("2001-02-03")),
    // Memory maps of what is made when it is read cannot be.
    Row("python3 -c 'import mmap; f=open(\"status\"); mmap.mmap(f.fileno(), 10, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)'", 1, Have("OSError: [Errno 19]")),
    // Whole trees.
    Row("find . -type f | wc -l", 0, Are("17")),
    Row("du -a . > /dev/null", 0, Are("")),
    Row("df . | tail -n 1 | grep -c /", 0, Are("1")),
    Row("tar -cf - config machine/ip | tar -tf - | wc -l", 0, Are("4")),
    Row("rsync -a config machine/ip /run/tmp/saved/ && ls /run/tmp/saved | sort | tr '\\n' ' ' && rm -r /run/tmp/saved", 0, Are("config ip")),
    Row("grep -rl undeployed . 2>/dev/null | sort; echo ${PIPESTATUS[0]}", 0, Are("./action\n./status\n2")),
    Row("ls | tr '\\n' ' '", 0, Are("action command config last_error log machine output stats status")),
];

/// An instance of type firewall that runs.
#[rustfmt::skip]
pub(crate) const RUNNING: &[Row] = &[
    Row("cat status", 0, Are("running")),
    Row("cat machine/vm.ip | grep -c '^10\\.'", 0, Are("1")),
    Row("for i in 1 2 3; do cat stats/rx_bytes; done | grep -c '^[0-9]*$'", 0, Are("3")),
    Row("awk '{s+=$1} END {print NR, (s >= 0)}' stats/rx_bytes stats/tx_bytes stats/pkt_drops", 0, Are("3 1")),
    Row("echo $(( $(< stats/tx_bytes) >= 0 ))", 0, Are("1")),
    // A command and its output by the same open file.
    Row("exec 3<>command; echo 'echo out; echo err >&2' >&3; cat <&3", 0, Are("out\nerr")),
    Row("dash -c \"exec 3<>command; echo 'echo out' >&3; cat <&3\"", 0, Are("out")),
    Row("exec 3<>command; echo 'echo out' >&3; read -r line <&3; echo $line", 0, Are("out")),
    Row("exec 3<>command; echo 'echo out' >&3; dd <&3 status=none", 0, Are("out")),
    // busybox's cat uses sendfile, which reads at the descriptor's position as if it were one in a file of 1000 bytes:
    // nothing, by design. `output` is for it.
    Row("exec 3<>command; echo 'echo out' >&3; busybox cat <&3", 0, Are("")),
    Row("echo 'echo out' > command; cat output", 0, Are("out")),
    Row("busybox sh -c \"echo 'echo out' > command; cat output\"", 0, Are("out")),
    Row("cat > command <<'E'\nfor i in 1 2 3; do\n  echo $i\ndone\nE\ncat output", 0, Are("1\n2\n3")),
    Row("printf 'cat /proc/1/comm' | tee command > /dev/null; wc -l < output", 0, Are("1")),
    Row("echo 'exit 3' > command", 1, Have("Remote I/O error")),
    Row("head -n 1 last_error", 0, Have("703")),
    Row("python3 -c 'f=open(\"command\",\"r+b\",0); f.write(b\"echo out\"); print(f.read())'", 0, Are("b'out\\n'")),
    // Verbs with redirections of all kinds.
    Row("echo pause > action; cat status", 0, Are("paused")),
    Row("echo unpause >> action; cat status", 0, Are("running")),
    Row("echo reload 1<> action; cat status", 0, Are("running")),
    Row("printf 'stop\\nstart\\n' | cat > action; cat status", 0, Are("running")),
    Row("cat > action <<E\nstop\nstart\nE\ncat status", 0, Are("running")),
    Row("echo activate > action", 1, Have("File exists")),
    Row("echo running | busybox tee action; cat status", 0, Are("running\nrunning")),
    Row("echo stop | dd of=action conv=notrunc status=none; cat status", 0, Are("exited")),
    Row("cat stats/rx_bytes", 1, Are("cat: stats/rx_bytes: Host is down")),
    Row("echo start > action; cat status", 0, Are("running")),
    // tail follows the log, and ends when it is told to.
    Row("timeout 2 tail -n 0 -f log", 124, Are("")),
    Row("wc -c log | grep -c log", 0, Are("1")),
    // No guest is ever orphaned.
    Row("rmdir ../fw-a", 1, Have("Device or resource busy")),
    Row("mv ../fw-a ../fw-b", 1, Have("Device or resource busy")),
    Row("rm -f status", 1, Have("Device or resource busy")),
    Row("rm -rf machine", 1, Have("Device or resource busy")),
];

/// Ordinary files of an instance: its own and the user's.
#[rustfmt::skip]
pub(crate) const ORDINARY: &[Row] = &[
    // Shells.
    Row("echo one > config/nf_conf; echo two >> config/nf_conf; cat config/nf_conf", 0, Are("one\ntwo")),
    Row("dash -c 'echo one > config/nf_conf; echo two >> config/nf_conf; cat config/nf_conf'", 0, Are("one\ntwo")),
    Row("busybox sh -c 'echo one > config/nf_conf; echo two >> config/nf_conf; cat config/nf_conf'", 0, Are("one\ntwo")),
    Row("echo ONE 1<> config/nf_conf; cat config/nf_conf", 0, Are("ONE\ntwo")),
    Row("cat > config/nf_conf <<E\nhere\nE\ncat config/nf_conf", 0, Are("here")),
    Row("set -C; echo x > config/nf_conf", 1, Have("cannot overwrite existing file")),
    Row("while read -r line; do echo \"[$line]\"; done < config/nf_conf", 0, Are("[here]")),
    // Editors: aside and renamed, in place, with a backup.
    Row("sed -i s/here/there/ config/nf_conf; cat config/nf_conf", 0, Are("there")),
    Row("busybox sed -i s/there/where/ config/nf_conf; cat config/nf_conf", 0, Are("where")),
    Row("sed -i.bak s/where/here/ config/nf_conf; cat config/nf_conf.bak; rm config/nf_conf.bak", 0, Are("where")),
    Row("vim -N -u NONE -i NONE -es -c '%s/here/vim/' -c wq config/nf_conf < /dev/null; cat config/nf_conf", 0, Are("vim")),
    Row("vim -N -u NONE -i NONE -es -c 'set backupcopy=yes backup' -c '%s/vim/vi/' -c wq config/nf_conf < /dev/null; cat config/nf_conf; rm config/nf_conf~", 0, Are("vi")),
    Row("vim -N -u NONE -i NONE -es -c 'set backupcopy=no writebackup' -c '%s/vi/ed/' -c wq machine/vm.vcpu config/nf_conf < /dev/null; ls config | tr '\\n' ' '", 0, Are("boot.conf nf_conf")),
    Row("python3 -c 'import os; open(\"config/new\",\"w\").write(\"py\\n\"); os.replace(\"config/new\",\"config/nf_conf\")'; cat config/nf_conf", 0, Are("py")),
    Row("stat -c '%a %u' config/boot.conf machine/ip", 0, Are("640 0\n644 0")),
    // Coreutils.
    Row("seq 1000 > config/a; wc -l < config/a; tail -n 1 config/a; head -n 1 config/a", 0, Are("1000\n1000\n1")),
    Row("cp -a config/a config/b; cmp config/a config/b; mv config/b config/c; ls config | tr '\\n' ' '", 0, Are("a boot.conf c nf_conf")),
    Row("busybox cp config/a config/b; busybox cmp config/a config/b; busybox mv config/b config/c; wc -l < config/c", 0, Are("1000")),
    Row("ln config/a config/hard; ln -s a config/soft; stat -c %h config/a; readlink config/soft; cmp config/hard config/soft", 0, Are("2\na")),
    Row("dd if=/dev/zero of=config/b bs=4k count=3 conv=fsync status=none; stat -c %s config/b", 0, Are("12288")),
    Row("dd if=/dev/zero of=config/b bs=4k count=1 seek=9 conv=notrunc status=none; stat -c %s config/b", 0, Are("40960")),
    Row("dd if=/dev/zero of=config/b bs=4k count=2 oflag=append conv=notrunc status=none; stat -c %s config/b", 0, Are("49152")),
    Row("truncate -s 5 config/b; truncate -s +5 config/b; stat -c %s config/b", 0, Are("10")),
    Row("truncate -s 1M config/hole; du -k config/hole | cut -f 1", 0, Are("0")),
    Row("install -m 751 -o 1 -g 2 config/a config/i; stat -c '%a %u %g' config/i", 0, Are("751 1 2")),
    Row("chmod u=rw,go= config/i; chown 3:4 config/i; stat -c '%a %u %g' config/i", 0, Are("600 3 4")),
    Row("touch -d '2001-02-03 04:05:06 UTC' config/i; stat -c %Y config/i", 0, Are("981173106")),
    Row("touch config/i; test config/i -nt config/a", 0, Are("")),
    Row("split -n l/4 config/a config/part.; cat config/part.* | cmp - config/a; ls config/part.* | wc -l", 0, Are("4")),
    Row("sort -rn -o config/a config/a; head -n 1 config/a; sort -c -n config/a 2>/dev/null || sort -n config/a -o config/a; head -n 1 config/a", 0, Are("1000\n1")),
    Row("echo x | tee config/t1 config/t2; cmp config/t1 config/t2", 0, Are("x")),
    Row("echo y | tee -a config/t1 > /dev/null; cat config/t1", 0, Are("x\ny")),
    Row("sync config/t1; sync -f config/t1; sync -d config/t1", 0, Are("")),
    Row("od -An -tx1 config/t1", 0, Are(" 78 0a 79 0a")),
    Row("shred -n 1 -u config/t2; test -e config/t2", 1, Are("")),
    Row("mkfifo config/p; (echo through > config/p &) ; timeout 10 cat config/p; rm config/p", 0, Are("through")),
    Row("flock config/t1 echo locked; flock -n config/t1 sh -c 'flock -n config/t1 true || echo taken'", 0, Are("locked\ntaken")),
    Row("(timeout 10 tail -n 0 -f config/t1 & echo $! > config/pid; for i in 1 2 3 4 5 6 7 8 9; do echo more >> config/t1; sleep 0.3; done; kill $(cat config/pid); wait) | sort -u; rm config/pid", 0, Have("more")),
    // Python.
    Row("python3 -c 'f=open(\"config/t1\",\"r+\"); f.seek(2); f.write(\"Z\"); f.seek(0); print(repr(f.read(4)))'", 0, Are("'x\\nZ\\n'")),
    Row("python3 -c 'import mmap; f=open(\"config/b\",\"r+b\"); m=mmap.mmap(f.fileno(),0); m[0:4]=b\"mmap\"; m.flush(); print(open(\"config/b\",\"rb\").read(4))'", 0, Are("b'mmap'")),
    Row("python3 -c 'import os; d=os.open(\"config\",os.O_RDONLY); os.fsync(d); print(\"b\" in os.listdir(d))'", 0, Are("True")),
    Row("python3 -c 'import shutil; shutil.copytree(\"config\",\"copy\",symlinks=True); shutil.rmtree(\"copy\")'; test -e copy", 1, Are("")),
    // Trees.
    Row("tar -C config -cf machine/t.tar . && mkdir t && tar -C t -xpf machine/t.tar && diff -r --no-dereference config t && rm -r t machine/t.tar", 0, Are("")),
    Row("busybox tar -C config -cf machine/t.tar . && mkdir t && busybox tar -C t -xf machine/t.tar && diff -r --no-dereference config t && rm -r t machine/t.tar", 0, Are("")),
    Row("rsync -aH config/ r && rsync -aHi --checksum config/ r && rm -r r", 0, Are("")),
    Row("rsync -a --inplace config/a r && cmp config/a r && rm r", 0, Are("")),
    Row("mkdir -p d/e/f && touch d/e/f/g && find d -type f && rmdir d 2>&1 | grep -c 'not empty'; rm -r d", 0, Are("d/e/f/g\n1")),
    Row("rm config/part.* config/hard config/soft config/hole config/[abci] config/t1; ls config | tr '\\n' ' '", 0, Are("boot.conf nf_conf")),
];
