# SPDX-License-Identifier: MIT
"""Real programs of Debian on the mount. Each script runs in a folder of its own, once on a local file system and once
on the mount; it has to succeed and to print the same in both, and what the host then finds in the mount's folder is
the same too. As an ordinary user on both sides; as root on both where owners are part of it (rsync, tar, dpkg-deb), and as root
with virtual ownership (dpkg, npm, PostgreSQL)."""
import contextlib
import difflib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import pytest

from mounted import USER, Mounted, MountedByUser, MountedVirtual, as_user
from test_mount_tree import description, differences, make_tree

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


class Place:
    """A local folder and a mounted one, and one user who works in both."""

    def __init__(self, top, mounted, before=(), inside=(), uid=0, host_uid=None):
        self.local = top + "/local"
        self.mounted = mounted
        self.before = before  # what makes a command the user's
        self.inside = inside  # and lets it see the mount
        self.uid = uid
        self.host_uid = uid if host_uid is None else host_uid
        os.mkdir(self.local)

    def folder(self, name):
        """Made empty on both sides: its path on the local side, in the guest, on the host."""
        for path, uid in ((self.local, self.uid), (self.mounted.host, self.host_uid)):
            os.mkdir(f"{path}/{name}")
            os.chown(f"{path}/{name}", uid, uid)
        return f"{self.local}/{name}", f"{self.mounted.guest}/{name}", f"{self.mounted.host}/{name}"

    def run(self, folder, script, *args):
        """What the script prints; its working folder and HOME are the folder."""
        env = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C.UTF-8", "TZ": "UTC", "USER": "me"}
        inside = self.inside if folder.startswith(self.mounted.guest) else []
        # System V's semaphores are one machine's, and a program beside this one may have them all.
        done = subprocess.run(["unshare", "--ipc", *inside, *self.before, "bash", "-euo", "pipefail", "-c",
                               'cd "$0"\n' + script, folder, *args], env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="backslashreplace", timeout=140)
        if done.returncode:
            pytest.fail(f"{folder}: exit {done.returncode}\n{done.stdout[-4000:]}", pytrace=False)
        return done.stdout

    def alike(self, name, script, afterwards=None):
        """Runs it on both sides; `afterwards` on the local one and, where the guest has worked, on the host."""
        local, guest, host = self.folder(name)
        expected, found = self.run(local, script), self.run(guest, script)
        assert difference(expected, found) == ""
        if afterwards:
            assert difference(self.run(local, afterwards), self.run(host, afterwards)) == ""
        return local, guest, host


def difference(expected, found):
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "local", "mount", n=1, lineterm="")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def top():
    """Where every user may go: pytest's own folders are root's alone."""
    path = tempfile.mkdtemp(prefix="homeport-programs-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def user(top):
    path = top + "/user"
    os.mkdir(path)
    with MountedByUser(path + "/mounted") as m:
        yield Place(path, m, as_user(), m.inside(), USER)


@pytest.fixture(scope="module")
def root(top):
    path = top + "/root"
    os.mkdir(path)
    with Mounted(path + "/mounted") as m:
        yield Place(path, m)


@pytest.fixture(scope="module")
def virtual(top):
    """Root in the guest, an ordinary user on the host."""
    path = top + "/virtual"
    os.mkdir(path)
    with MountedVirtual(path + "/mounted") as m:
        yield Place(path, m, host_uid=USER)


GIT = r"""
export GIT_AUTHOR_DATE=2026-01-01T00:00:00Z GIT_COMMITTER_DATE=2026-01-01T00:00:00Z GIT_EDITOR=true
git config --global user.name me; git config --global user.email me@example.org; git config --global gc.auto 0
git init -q -b main r; cd r; mkdir d{0..9}; for i in {0..199}; do echo "$i $i $i" >d$((i % 10))/f$i; done
git add .; git commit -qm first; git status --porcelain
for i in {1..6}; do echo $i >>d1/f1; echo new $i >d2/n$i; git mv d3/f${i}3 d4/m$i; git add .; git commit -qm "c$i"; done
git checkout -qb side HEAD~3; for i in 1 2; do echo side >s$i; git add s$i; git commit -qm "s$i"; done
git rebase -q main; git checkout -q main; git merge -q --no-ff -m merge side
echo main >s1; git commit -qam main; git checkout -q side; echo other >s1; git commit -qam other
if git rebase main >/dev/null 2>&1; then echo no conflict; exit 1; fi
git status --porcelain; git checkout -q --theirs s1; git add s1; git rebase --continue >/dev/null 2>&1
git checkout -q main; git worktree add -q ../w side
(cd ../w; echo w >>d5/f5; git commit -qam w; git status --porcelain)
echo dirty >>d6/f6; rm d7/f7; chmod +x d8/f8; git stash -q; git status --porcelain
git stash pop -q; git status --porcelain; git checkout -q .; git pack-refs --all; git gc -q --prune=now
git clone -q . ../hard; git clone -q --no-local . ../copied
cd ../hard; echo pushed >p; git add p; git commit -qm p; git push -q origin HEAD:refs/heads/pushed
cd ../r; git merge -q pushed; git reset -q --hard HEAD~5; git reset -q --hard ORIG_HEAD; git repack -adq
touch junk; mkdir empty; git clean -xdfq; git archive HEAD | tar t | sha1sum; git worktree remove --force ../w
git bisect start HEAD HEAD~5 >/dev/null; git bisect run test ! -e d2/n6 | grep 'is the first bad'
git bisect reset 2>/dev/null
"""
GIT_IS_SOUND = """
for r in r hard copied; do git -C $r diff-files; git -C $r status --porcelain; git -C $r fsck --strict --no-progress
    git -C $r for-each-ref; done
"""


def test_git(user):
    user.alike("git", GIT + "cd ..\n" + GIT_IS_SOUND, GIT_IS_SOUND)


SQLITE = """
rows="with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)"
for mode in delete truncate persist wal; do sqlite3 -bail $mode.db "pragma journal_mode=$mode;
    create table t(i integer primary key, s text);
    begin; $rows insert into t select i, hex(i * i) from n; commit;
    begin; delete from t where i % 2; rollback; update t set s = s || s where i % 5 = 0;
    begin; delete from t where i % 3 = 0; create index s on t(s); commit; vacuum;
    pragma integrity_check; select count(*), sum(i), sum(length(s)) from t;"; done
for mode in delete wal; do many=many-$mode.db
    sqlite3 $many "pragma journal_mode=$mode; create table c(n); insert into c values(0);"
    for p in 1 2 3; do for i in {1..8}; do
        sqlite3 -bail -cmd '.timeout 20000' $many 'begin immediate; update c set n = n + 1; commit;'; done & done
    wait; sqlite3 $many "select n from c; pragma integrity_check;"; done
cp delete.db hot.db; mkfifo in; sqlite3 hot.db <in >out & exec 3>in
echo "pragma cache_size = 5; begin; update t set s = 'half done' where i % 2; select 'written';" >&3
until grep -qs written out; do sleep 0.02; done; kill -9 $!; wait $! 2>/dev/null || true; exec 3>&-; rm in out
ls
"""
SQLITE_IS_SOUND = """
for f in *.db; do sqlite3 -bail $f "pragma integrity_check; select name from sqlite_schema;"; done
sqlite3 hot.db "select count(*), sum(length(s)) from t; select count(*) from t where s = 'half done'"
for mode in delete truncate persist wal; do sqlite3 $mode.db .dump | sha1sum; done; ls
"""


def test_sqlite(user):
    user.alike("sqlite", SQLITE, SQLITE_IS_SOUND)


def with_attributes(top, seed, count):
    """The tree of test_mount_tree.py, and user xattrs on it."""
    os.mkdir(top)
    make_tree(top, count, seed)
    os.utime(top, ns=(1, 2))
    for i, (folder, folders, files) in enumerate(os.walk(os.fsencode(top))):
        for name in folders + files:
            path = folder + b"/" + name
            if not os.path.islink(path) and len(name) % 3 == 0:
                times = os.stat(path)
                os.setxattr(path, "user.name", name)
                os.setxattr(path, "user.Ä", bytes(range(256)) * (i % 4))
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def attributes(top):
    """{path: {name: value}}"""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for path in [os.path.join(folder, name) for name in folders + files]:
            found[os.path.relpath(path, os.fsencode(top))] = {
                n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)
                if n.startswith("user.")}
    return found


def same(a, b, times=True, holes=True):
    """Two trees are, but for the times or the blocks of files, if they may differ."""
    trees = description(a), description(b)
    for what in [what for tree in trees for what in tree.values()]:
        if not holes:
            what[6:7] = []
        if not times and what[0][0] != "l":
            what[4:5] = []
    assert differences(*trees) == []
    assert differences(attributes(a), attributes(b)) == []


RSYNC = """
sync() { rsync -aHAXS --itemize-changes "$@"; }
sync "$1/" to/ | wc -l; sync "$1/" to/; sync --checksum "$1/" to/
"""


def test_rsync(root):
    local, guest, host = root.folder("rsync")
    with_attributes(local + "/src", 4, 250)
    expected = root.run(local, RSYNC, local + "/src")
    assert root.run(guest, RSYNC, local + "/src") == expected
    assert len(expected.splitlines()) == 1
    same(local + "/to", host + "/to")
    assert root.run(local, "mkdir back; cd back;" + RSYNC, guest + "/to") == expected
    same(local + "/src", local + "/back/to", holes=False)


TAR = r"""
tar() { command tar --xattrs --xattrs-include='user.*' --warning=no-timestamp "$@"; }
tar --sparse --format=posix -cf t.tar -C src .; tar -df t.tar -C src
mkdir x; tar -xpf t.tar -C x; mkdir y; tar -xp -C y <t.tar
"""


def test_tar(root):
    local, guest, host = root.folder("tar")
    for d in (local, host):
        with_attributes(d + "/src", 5, 250)
    for d in (local, guest):
        assert root.run(d, TAR) == ""
    assert root.run(local, 'tar -df "$1" -C src', host + "/t.tar") == ""
    same(local + "/src", local + "/x")
    for x in (host + "/x", host + "/y"):
        same(local + "/x", x)


BUILD = r"""
export CCACHE_DIR=$PWD/cache CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=none
mkdir src; cd src
for i in {1..6}; do printf '#include "gen.h"\nint f%d(int x) { return x * %d + GEN; }\n' $i $i >f$i.c
    echo "int f$i(int);"; done >all.h
{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int x = 1;'
  for i in {1..6}; do echo "x = f$i(x);"; done; echo 'printf("%d\n", x); }'; } >main.c
cat >Makefile <<'END'
CFLAGS = -MMD
CC = ccache gcc
OBJ = $(patsubst %.c,%.o,$(filter-out main.c,$(wildcard *.c)))
prog: main.o libf.a
	$(CC) -o $@ $^
libf.a: $(OBJ)
	rm -f $@; ar rcs $@ $^
$(OBJ): gen.h
gen.h:
	echo '#define GEN 7' >$@.new; mv $@.new $@
clean:
	rm -f *.o *.d *.a prog gen.h
-include $(wildcard *.d)
END
make -s -j4; ./prog; make -q; make -sj4
sed -i s/7/8/ gen.h; make -j4 | grep -c 'gcc.*-c'; ./prog; make -q; touch f3.c; make -j4 | grep -c 'gcc.*-c'
cp prog before; strip prog; ./prog; make -s clean; make -s -j4; sed -i s/7/8/ gen.h; make -s -j4; make -q
cmp prog before
ccache --print-stats | grep -E 'cache_hit|cache_miss|error|failed'; sha1sum *.o libf.a prog
"""


def test_a_build(user):
    user.alike("build", BUILD, "cd src; make -q; ./prog; sha1sum *.o libf.a prog")


EDIT = r"""
look() { stat -c '%n %A %h %s' "$@"; sha1sum "$@"; ls -xAw 0; }
inode() { stat -c %i "$1"; }
kept() { [ "$(inode "$1")" = "$2" ] && echo "$1 kept" || echo "$1 replaced"; }
edit() { vim.tiny -es -N -u NONE -i NONE "$@" </dev/null; }
seq 500 >f; chmod 640 f; ln f hard; ln -s f soft; seq 100 >g; chmod 444 g
for copy in yes no auto,breaksymlink,breakhardlink; do for file in hard soft g; do
    i=$(inode $file); edit "+set backup backupskip= backupext=.$copy backupcopy=$copy" "+%s/$/$copy/" '+w!' +q $file
    echo $copy; kept $file $i; look $file $file.$copy; done; done
edit '+set swapsync=fsync fsync directory=.' '+normal oline' +wq new; look new
edit '+r f' '+$r! echo shell' '+w! big' '+1,5w >>big' '+q!'; look big
i=$(inode f); sed -i s/1/one/ f; kept f $i; sed -i.bak s/2/two/ soft; look f soft; readlink soft || echo a file
ln -sf f soft; sed -i --follow-symlinks s/3/three/ soft; readlink soft; sed -n -i 1,50p f g || true; look f g
perl -pi -e 's/4/four/' f hard; perl -i.orig -ne 'print unless /5/' f; look f f.orig hard
cp f a; sed 's/6/six/; 3d; 20a\added' a >b; diff -u --label a --label b a b >p || true; i=$(inode a)
patch -s a p; kept a $i; cmp a b; patch -sR a p; patch -bs a p; cmp a b; look a a.orig
patch -sR -V numbered -b a p; look a; patch -sf a </dev/null
sed 's/^-/-x/' p >wrong; patch -f a wrong || look a a.rej; chmod 400 a; patch -s a p || true; look a
mkdir x; (cd x; printf -- '--- /dev/null\n+++ d/e/new\n@@ -0,0 +1 @@\n+text\n' | patch -sp0; cat d/e/new
    printf -- '--- d/e/new\n+++ /dev/null\n@@ -1 +0,0 @@\n-text\n' | patch -sp0; ls -R)
"""


def test_editors(user):
    local, guest, host = user.alike("edit", EDIT)
    same(local, host, times=False)


PACKAGE = r"""
export SOURCE_DATE_EPOCH=1700000000
umask 022; mkdir -p p/DEBIAN p/usr/lib/thing p/etc p/var/lib/thing; cd p
printf '%s\n' 'Package: thing' 'Version: 1.0' 'Architecture: all' 'Maintainer: me <me@example.org>' >DEBIAN/control
echo 'Description: a thing' >>DEBIAN/control; echo /etc/thing.conf >DEBIAN/conffiles; echo conf >etc/thing.conf
printf '#!/bin/sh\n' >DEBIAN/postinst; chmod 755 DEBIAN/postinst; truncate -s 3M var/lib/thing/sparse; cd usr/lib/thing
for i in {1..30}; do printf '%09999d' $i >f$i; done; ln f1 hard; ln -s f2 soft; chmod 4755 f3; chown 33:33 f4
cd ../../../..; dpkg-deb -b p thing.deb; dpkg-deb -x thing.deb x; dpkg-deb -R thing.deb r; dpkg-deb -c thing.deb
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates; touch root/var/lib/dpkg/status
dpkg() { command dpkg --root="$PWD/root" --force-script-chrootless --log=/dev/null "$@"; }
dpkg -i thing.deb; dpkg -V thing; dpkg -L thing; dpkg -P thing; find root | sort; sha1sum thing.deb
"""


def test_packages(root):
    local, guest, host = root.alike("deb", PACKAGE)
    same(local, host, times=False)


def test_packages_with_virtual_ownership(virtual):
    local, guest, host = virtual.alike("deb", PACKAGE)
    same(local, guest, times=False)
    assert any(st.st_uid == 33 for st in (os.lstat(f"{at}/{name}") for at, _, names in os.walk(guest) for name in names))
    assert {os.lstat(f"{at}/{name}").st_uid for at, _, names in os.walk(host) for name in names} == {USER}


NPM = r"""
export npm_config_cache=$PWD/.cache npm_config_offline=true npm_config_update_notifier=false
export npm_config_audit=false npm_config_fund=false
mkdir -p a/bin a/node_modules/b c app
cat >a/package.json <<'.'
{"name": "a", "version": "1.2.3", "bin": {"a-tool": "bin/a.js"}, "dependencies": {"b": "1.0.0"},
 "bundleDependencies": ["b"], "scripts": {"postinstall": "node -e \"require('fs').writeFileSync('built', 'yes')\""}}
.
printf '#!/usr/bin/env node\nconsole.log("a says", require("b"))\n' >a/bin/a.js; chmod +x a/bin/a.js
echo '{"name": "b", "version": "1.0.0", "main": "i.js"}' >a/node_modules/b/package.json
echo 'module.exports = "b"' >a/node_modules/b/i.js; echo '{"name": "c", "version": "0.0.1"}' >c/package.json
(cd a; npm pack --silent); (cd c; npm pack --silent); cd app; npm init -y >/dev/null
npm install --silent ../a/a-1.2.3.tgz ../c/c-0.0.1.tgz; npx a-tool; cat node_modules/a/built; echo; npm ls --parseable
npm ci --silent; npm uninstall --silent c; rm -rf node_modules; npm ci --silent; chown -R 33:33 node_modules
find . -printf '%P %M %U %l\n' | grep -v '^[^ ]* l' | sort; cd ..; rm -rf .cache
"""


@pytest.mark.long
def test_npm(virtual):
    """What it prints of paths is the folder's own."""
    local, guest, _ = virtual.folder("npm")
    expected, found = virtual.run(local, NPM), virtual.run(guest, NPM)
    assert "a says b\nyes\n" in expected and difference(expected.replace(local, ""), found.replace(guest, "")) == ""


POSTGRES = r"""
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); export PGHOST=$PWD PGDATA=$PWD/data PGUSER=me PGDATABASE=postgres
$bin/initdb -A trust -U me --no-instructions --data-checksums >/dev/null; stat -c %A:%U data data/base data/PG_VERSION
start() { $bin/pg_ctl -s -w -l log -o "-c listen_addresses= -c unix_socket_directories=$PWD" start; }
start; stat -c %A:%U .s.PGSQL.5432 data/postmaster.pid
pgbench -q -i -s 2 2>/dev/null >/dev/null; pgbench -n -c 4 -t 250 | grep -E 'processed|failed'
pgbench -n -c 4 -T 60 >/dev/null 2>&1 & sleep 3; kill -9 "$(head -n 1 data/postmaster.pid)"; wait || true; rm -f .s.PGSQL*
until start >/dev/null 2>&1; do sleep 1; done; psql -Atc "vacuum full" -c "select count(*) from pgbench_accounts" \
    -c "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts"
psql -Atc "create tablespace t location '$PWD/space'" 2>&1 | sed 's/".*"/X/' || true; mkdir -m 700 space
psql -Atc "create tablespace t location '$PWD/space'" -c "create table x tablespace t as select generate_series(1, 9999) n" \
    -c "checkpoint" -c "select sum(n) from x"; $bin/pg_ctl -s -w -m fast stop; $bin/pg_checksums --check | tail -n 2
"""


@pytest.mark.long
def test_postgres(virtual):
    """As a user of its own in the guest, whose files are all the host user's on the host."""
    local, guest, host = virtual.folder("pg")
    account = pwd.getpwnam("postgres")
    for folder in (local, guest):
        os.chown(folder, account.pw_uid, account.pw_gid)
    virtual.before = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    try:
        expected, found = virtual.run(local, POSTGRES), virtual.run(guest, POSTGRES)
    finally:
        virtual.before = ()
        for folder in (local, guest):  # where it failed, servers run on
            with contextlib.suppress(OSError), open(folder + "/data/postmaster.pid") as f:
                os.kill(int(f.readline()), signal.SIGKILL)
    assert "drwx------:postgres" in expected and "\nt\n" in expected and difference(expected, found) == ""
    assert {os.lstat(f"{at}/{name}").st_uid for at, _, names in os.walk(host) for name in names} == {USER}


FIO = r"""
fio --output=log --minimal --verify=crc32c --verify_fatal=1 --verify_state_save=0 --size=2m --fallocate=none \
    --name=sync --ioengine=psync --rw=randrw --bsrange=512-64k --verify_backlog=64 \
    --name=append --ioengine=sync --rw=write --bs=777 --fsync=32 --end_fsync=1 \
    --name=mapped --ioengine=mmap --rw=randwrite --bs=4k --fdatasync=16 \
    --name=async --ioengine=libaio --iodepth=16 --rw=randrw --bs=8k \
    --name=direct --ioengine=pvsync --rw=randwrite --bs=16k --sync=1 --direct=1 || { cat log; exit 1; }
rm log; ls
"""


def test_fio_verifies_what_it_wrote(user):
    local, guest, host = user.alike("fio", FIO)
    assert user.run(host, "sha1sum *") == user.run(guest, "sha1sum *")


DBENCH = """
dbench -c /usr/share/dbench/client.txt -t 2 -F 3 >log 2>&1 || { cat log; exit 1; }
grep -i -e error -e failed -e expected log || true; rm log; find . -type f | wc -l
"""


def test_dbench(user):
    user.alike("dbench", DBENCH)


COREUTILS = r"""
mkdir a; for i in $(seq 20); do seq $i >a/$i; done; ln a/1 a/hard; ln -s 2 a/soft; mkfifo a/fifo; truncate -s 5M a/hole
chmod 600 a/3; touch -d '2001-02-03 04:05:06.123456789' a/4; cp -a a b; stat -c '%n %A %h %s' b/*; stat -c %y b/4
cp --sparse=always b/hole sparse; cmp sparse a/hole; cp --reflink=auto a/5 c5; cmp c5 a/5; cp -lr b l; stat -c %h l/7
cp -u a/6 c5; cp -b a/7 c5; mv b/8 b/9; mv -n a/10 a/11; mv l b/l; mv b/l .; ls a b l
ln -sfn b link; ln -sfn a link; readlink link; install -D -m 751 a/12 i/j/k; stat -c '%A' i/j/k
seq 30000 >big; shuf --random-source=big big >mixed; sort -n -o mixed mixed; cmp big mixed
split -l 3000 -d big part; cat part* | cmp - big; gzip -nk big; gunzip -c big.gz | cmp - big; xz -k0 big; xz -t big.xz
truncate -s 100 part00; truncate -s +7 part00; wc -c part00; shred -u part01; ls
dd if=big of=dd bs=1k seek=3 conv=notrunc,fsync status=none
dd if=big of=dd bs=512 count=3 oflag=append conv=notrunc status=none; sha1sum dd
touch grown; tail -n +1 -f -s 0.01 grown >seen 2>/dev/null & for i in $(seq 20); do echo $i >>grown; done
for i in $(seq 200); do [ "$(wc -l <seen)" -lt 20 ] || break; sleep 0.05; done; kill $!; cat seen
for i in 1 2 3 4; do
    (for j in $(seq 5); do flock lock sh -c 'n=$(cat count || echo 0); echo $((n + 1)) >count' 2>/dev/null; done) & done
wait $(jobs -p) || true; cat count
find . -newer a/4 -type f -size +1k | sort; find . -samefile a/1 | sort; find b -type f -delete; rmdir -p b 2>&1 || true
mkdir -p d/e/f; chmod -R go-rwx d; chmod 000 d/e; ls d/e/f 2>&1 || true; chmod 700 d/e; rm -rf d l; ls
"""


def test_coreutils(user):
    local, guest, host = user.alike("coreutils", COREUTILS)
    same(local, host, times=False)


# All of stress-ng's class `filesystem` that an ordinary user can run; bind-mount is root's, procfs is not of a folder.
STRESSORS = ("access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fcntl fiemap "
             "file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix lease link "
             "locka lockf lockofd mknod open rename symlink sync-file touch utime xattr").split()
STRESS = """
stress-ng --verify --temp-path . "$@" >log 2>&1 || { cat log; exit 1; }
sed -n 's/.*\\] \\([a-z-]*\\): .*skipping.*/skipped: \\1/p' log; rm log; ls
"""
# There is no request of FUSE for it.
SKIPPED = "skipped: fiemap\n"


def test_stressors_all_at_once(user):
    local, guest, host = user.folder("stress")
    small = "--chdir-dirs 64 --dentries 64 --dirdeep-inodes 200 --open-max 200 --copy-file-bytes 128m".split()
    small += [word for name in ("hdd", "iomix", "fallocate", "dirmany") for word in (f"--{name}-bytes", "4m")]
    every = [word for name in STRESSORS for word in (f"--{name}", "1")]
    assert user.run(local, STRESS, "-t", "1", *every, *small) == ""
    assert user.run(guest, STRESS, "-t", "1", *every, *small) == SKIPPED
    assert os.listdir(host) == []


@pytest.mark.long
@pytest.mark.parametrize("name", STRESSORS)
def test_each_stressor(user, name):
    local, guest, host = user.folder("stress-" + name)
    assert user.run(guest, STRESS, f"--{name}", "2", "-t", "2") == (SKIPPED if name == "fiemap" else "")
    assert os.listdir(host) == []
