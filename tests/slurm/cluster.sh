#!/bin/bash
# The test cluster: a real Slurm of four nodes on one machine, as root, without systemd.
#   cluster.sh up | down | status
#   cluster.sh exec [-u USER] [-n NODE] -- CMD…   in the cluster's world: as root, on the hub's machine
#   cluster.sh node-cut N | node-heal N           pull the network cable out | put it back
#   cluster.sh node-crash N | node-boot N         as if the power went | came back
#   cluster.sh ctld-stop | ctld-start             Slurm's controller
#   cluster.sh disk-hang SECONDS                  a file system that all nodes see, disk/, lets nobody write
#   cluster.sh disk-fill | disk-empty             … is full | has room again
#   cluster.sh debian FOLDER [SUITE]              another Debian with its Slurm, for LABKIT_SLURM_ROOT (trixie)
# Settings (environment):
#   LABKIT_SLURM_DIR     the folder of everything (/tmp/labkit-slurm)
#   LABKIT_SLURM_PYTHON  the Python whose packages jobs get (the checkout's .venv/bin/python)
#   LABKIT_SLURM_NUMBER  1, 2, …: a second cluster beside the first (folder, network, ports)
#   LABKIT_SLURM_CORES   how many cores each node says it has, with 4 GB for each (16)
#   LABKIT_SLURM_ROOT    another Debian with its Slurm, as debootstrap makes it, in place of this one's (/)
#
# The cluster is one process namespace with mounts, /etc and /run of its own: the machine's /etc is
# never written, and the death of its first process ends all that runs in it. Nodes are namespaces
# within it, each with its own network, host name, processes, /tmp and /dev/shm. Where there are no
# loop devices, disk/ is a folder like others.
set -euo pipefail
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
STARTED_US=${EPOCHREALTIME/./}
NUMBER=${LABKIT_SLURM_NUMBER:-}
CORES=${LABKIT_SLURM_CORES:-16}
LAB=${LABKIT_SLURM_DIR:-/tmp/labkit-slurm$NUMBER}
ROOT=${LABKIT_SLURM_ROOT:-}
export LABKIT_SLURM_DIR=$LAB LABKIT_SLURM_NUMBER=$NUMBER
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}
NODES="n1 n2 n3 n4"
PEOPLE="alice bob carol"
NET=10.89.${NUMBER:-0}
CTL=$NET.1 # the controller, the database and the hub; node n1 is .11, n2 .12, …
BRIDGE=lkbr${NUMBER:-0}
VETH=lkv${NUMBER:-0} # lkv0n1: the near end of n1's cable
CTLD_PORT=$((26910 + 10 * ${NUMBER:-0})) SLURMD_PORT=$((CTLD_PORT + 1)) DBD_PORT=$((CTLD_PORT + 2))

fail() { echo "cluster.sh: $*" >&2; exit 1; }
until_ok() { # seconds cmd…
  local tries=$(($1 * 20)); shift
  for ((; tries > 0; tries--)); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done
  echo "cluster.sh: gave up waiting for: $*" >&2; return 1; }
say() { local us=$((${EPOCHREALTIME/./} - STARTED_US)); printf '%3d.%02d s  %s\n' $((us / 1000000)) $((us / 10000 % 100)) "$*"; }

# ---- On the machine: the world's first process ----

start_time() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
world_pid() { # of the `unshare` whose child is the world's first process; fails where it is down
  local pid began
  [ -O "$LAB" ] && read -r pid began 2>/dev/null <"$LAB/world" && [ "$(start_time "$pid")" = "$began" ] && echo "$pid"; }
end_namespace() { # pid of unshare: kill its child; the kernel then ends every process within, and unshare last
  local child; child=$(pgrep -P "$1") && kill -KILL "$child"
  until_ok 10 eval "[ ! -d /proc/$1 ] || grep -q '^State:.*Z' /proc/$1/status"; }
enter() { # cmd…: in the world, without this environment; killed with this process (nsenter would leave it behind)
  local pid; pid=$(world_pid) || fail "the test cluster is down: cluster.sh up"
  exec nsenter --target "$(pgrep -P "$pid")" --mount --pid --uts -- setpriv --pdeathsig KILL -- env -i \
    PATH="$PATH" TERM="${TERM:-dumb}" XDG_CACHE_HOME="$CACHE" LABKIT_SLURM_DIR="$LAB" LABKIT_SLURM_NUMBER="$NUMBER" "$@"; }
inside() { # command arguments…
  local command=$1; shift
  enter bash "$LAB/checkout/tests/slurm/cluster.sh" "inside-$command" "$@"; }

# Where docker set FORWARD to DROP and a bridge's packets pass iptables, let the nodes reach each other.
firewall() { iptables "$1" FORWARD -i "$BRIDGE" -o "$BRIDGE" -j ACCEPT 2>/dev/null || true; }

debian() { # folder [suite]
  local suite=${2:-trixie} software=environment-modules
  local slurm='slurm-wlm,munge,slurmdbd,mariadb-server,slurm-wlm-mysql-plugin,sudo,iproute2,procps,bc,iptables'
  local python='libbz2-1.0,libexpat1,libffi8,libgomp1,liblzma5,libreadline8t64,libsqlite3-0,libssl3t64'
  [ ! -e "$1" ] || fail "$1 is there already"
  command -v debootstrap >/dev/null || fail "no debootstrap here: apt-get install debootstrap"
  [ "$suite" = trixie ] || software+=,apptainer,squashfuse # which Debian 13 has not
  debootstrap --variant=minbase --include="$slurm,$python,$software" "$suite" "$1.new"
  mv "$1.new" "$1"; }

down() {
  local pid node
  ! pid=$(world_pid) || end_namespace "$pid"
  for node in $NODES; do ip link del "$VETH$node" 2>/dev/null || true; done
  ! ip link del "$BRIDGE" 2>/dev/null || firewall -D
  [ -d "$LAB" ] || return 0
  ! grep -q " $LAB/" /proc/self/mountinfo || fail "something is mounted below $LAB: not removing it"
  find "$LAB" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +; }

up() {
  local checkout python of_python gpu pid
  checkout=$(realpath "$(dirname "$0")/../..")
  python=${LABKIT_SLURM_PYTHON:-$checkout/.venv/bin/python}
  [ -x "$python" ] || fail "no Python at $python"
  [ -z "$ROOT" ] || [ -x "$ROOT/usr/sbin/slurmctld" ] || fail "no Slurm in $ROOT"
  mapfile -t of_python < <("$python" -c \
    'import sys; print(sys.base_prefix, sys.prefix, "python%d.%d" % sys.version_info[:2], sep="\n")')
  [ -z "$ROOT" ] || [ "${of_python[0]}" != /usr ] || fail "$python is this Debian's own, which that in $ROOT has not"
  down
  rm -rf "$LAB"; mkdir "$LAB"
  mkdir "$LAB"/{checkout,python,packages,lib,state,spool,log,nodes,gpus,home}
  write_etc
  mkdir "$LAB/disk"; truncate --size=4G "$LAB/disk.img"; mkfs.ext4 -q -m 0 "$LAB/disk.img"
  # Devices, as Slurm gives a job no CUDA_VISIBLE_DEVICES for other files; the null device does no harm.
  for gpu in {0..6}; do mknod -m 666 "$LAB/gpus/nvidia$gpu" c 1 3; done
  setsid unshare --mount --pid --uts --fork --mount-proc \
    bash "$0" world "$checkout" "${of_python[@]:0:2}" </dev/null >"$LAB/log/world.out" 2>&1 &
  pid=$!
  echo "$pid $(start_time $pid)" >"$LAB/world"
  until_ok 60 test -e "$LAB/world-ready" || { cat "$LAB/log/world.out" >&2; down; fail "no world"; }
  (inside up "${of_python[2]}" "$STARTED_US") || { down; fail "the cluster did not come up: see $LAB/log"; }; }

world() { # checkout base-prefix prefix: the first process
  local folder
  hostname ctl
  [ -z "$ROOT" ] || change_root "$@"
  mount --bind "$LAB/etc" /etc
  mount_disk
  mount -t tmpfs -o mode=0755 tmpfs /run
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  if [ -e /dev/fuse ]; then # everybody's, as with udev: Apptainer mounts images by it
    mknod -m 666 "$LAB/fuse" c 10 229; mount --bind "$LAB/fuse" /dev/fuse
  fi
  mkdir /run/netns; install -d -o munge -g munge /run/munge; install -d -o mysql -g mysql /run/mysqld
  ln -s mysqld /run/mariadbd # where newer ones look for the socket
  # Jobs' users cannot read a checkout or a Python below root's home: both get an open place.
  for folder in checkout python packages; do
    mount --bind "$1" "$LAB/$folder"; mount -o remount,bind,ro "$LAB/$folder"; shift
  done
  # That Python may look for its own library below root's home, and would then take Debian's of another version.
  find "$LAB/python/lib" -maxdepth 1 -name 'libpython*.so*' -exec ln -s -t "$LAB/lib" {} +
  mount -t tmpfs tmpfs /var/cache/ldconfig
  ldconfig -X
  touch "$LAB/world-ready"
  sleep infinity &
  wait; }

change_root() { # checkout base-prefix prefix: the other Debian becomes /, with these and this machine's devices
  local folder
  mount --bind "$ROOT" "$ROOT" # pivot_root wants a mount
  mkdir -p "$CACHE"
  for folder in /proc /sys /dev /tmp; do mount --rbind "$folder" "$ROOT$folder"; done
  for folder in "$CACHE" "$LAB" "$@"; do mkdir -p "$ROOT$folder"; mount --bind "$folder" "$ROOT$folder"; done
  cd "$ROOT"; pivot_root . mnt; cd /
  umount --lazy /mnt; }

mount_disk() { # 4 GB that may hang or fill up; each person has a folder there
  local name
  mount -o loop "$LAB/disk.img" "$LAB/disk" || echo "no loop device: disk/ is a folder"
  for name in $PEOPLE; do install -d -o "$name" -g "$name" -m 700 "$LAB/disk/$name"; done; }

write_etc() { # a copy of that Debian's /etc with the cluster's users, host names and Slurm
  local etc=$LAB/etc node name id=2001
  cp -a "$ROOT/etc" "$etc"
  rm -rf "$etc/slurm" "$etc/labkit" "$etc"/sudoers.d/*
  mkdir "$etc/slurm" "$etc/labkit"
  # shellcheck disable=SC2016
  awk -F: -v gone="hub labkit-users $PEOPLE" '
    BEGIN { split(gone, names, " "); for (i in names) skip[names[i]] = 1 }
    !($1 in skip) && !($3 == 950 || ($3 >= 2001 && $3 <= 2100)) { print > (FILENAME ".new") }
  ' "$etc/passwd" "$etc/group"
  for name in passwd group; do cat "$etc/$name.new" >"$etc/$name"; rm "$etc/$name.new"; done
  add_user hub 950 /usr/sbin/nologin
  for name in $PEOPLE; do add_user "$name" $((id++)) /bin/bash; done
  sed 's/:.*/:*:19000:0:99999:7:::/' "$etc/passwd" >"$etc/shadow" # nobody's password
  echo "labkit-users:x:2100:${PEOPLE// /,}" >>"$etc/group"
  # No DNS: a name asked of a server that a node cannot reach takes 10 s.
  sed -i 's/^\(hosts\|passwd\|group\|shadow\):.*/\1: files/' "$etc/nsswitch.conf"
  { echo "127.0.0.1 localhost"; echo "$CTL ctl"; for node in $NODES; do echo "$NET.1${node#n} $node"; done; } >"$etc/hosts"
  printf '%s\n' 'Defaults env_reset, secure_path="/usr/sbin:/usr/bin:/sbin:/bin"' 'root ALL=(ALL:ALL) ALL' \
    '@includedir /etc/sudoers.d' >"$etc/sudoers"
  write_slurm_conf >"$etc/slurm/slurm.conf"
  write_gres_conf >"$etc/slurm/gres.conf"
  echo "$LAB/lib" >"$etc/ld.so.conf.d/00-labkit.conf"
  printf '%s\n' CgroupPlugin=cgroup/v1 IgnoreSystemd=yes >"$etc/slurm/cgroup.conf"
  install -o slurm -m 600 /dev/null "$etc/slurm/slurmdbd.conf"
  write_slurmdbd_conf >"$etc/slurm/slurmdbd.conf"; }
add_user() { # name id shell
  echo "$1:x:$2:$2::$LAB/home/$1:$3" >>"$LAB/etc/passwd"
  echo "$1:x:$2:" >>"$LAB/etc/group"
  install -d -o "$2" -g "$2" -m 700 "$LAB/home/$1"; }

# ---- Slurm's settings ----

write_slurm_conf() { cat <<EOF
ClusterName=lab
SlurmctldHost=ctl($CTL)
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued waits for the credential of its first start to expire: 120 s without this.
AuthInfo=cred_expire=5
CredType=cred/munge
SlurmctldPort=$CTLD_PORT
SlurmdPort=$SLURMD_PORT
StateSaveLocation=$LAB/state
SlurmdSpoolDir=$LAB/spool/%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,bf_continue,sched_min_interval=100000,batch_sched_delay=0
PriorityType=priority/multifactor
PriorityDecayHalfLife=0
PriorityUsageResetPeriod=MONTHLY
PriorityCalcPeriod=1
PriorityWeightFairshare=10000
PriorityWeightAge=1000
PriorityWeightQOS=10000
DefMemPerCPU=500
EnforcePartLimits=ALL
JobRequeue=1
# Short timers: tests see failures soon.
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=5
KillWait=5
BatchStartTimeout=10
InactiveLimit=0
MinJobAge=600
TCPTimeout=2
UnkillableStepTimeout=30
# The nodes say that they have more than this machine.
SlurmdParameters=config_overrides
GresTypes=gpu,shard
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$CTL
AccountingStoragePort=$DBD_PORT
AccountingStorageEnforce=associations,limits,qos,safe
AccountingStorageTRES=gres/gpu,gres/gpu:h100,gres/gpu:a100,gres/gpu:1g.10gb,gres/shard
# Not job_env: a session's token would lie in the database.
AccountingStoreFlags=job_comment,job_script
NodeName=DEFAULT CPUs=$CORES Boards=1 SocketsPerBoard=1 CoresPerSocket=$CORES ThreadsPerCore=1 RealMemory=$((CORES * 4000))
NodeName=n1 NodeAddr=$NET.11 Gres=gpu:h100:4
NodeName=n2 NodeAddr=$NET.12 Gres=gpu:h100:4
NodeName=n3 NodeAddr=$NET.13 Gres=gpu:a100:2,shard:16
NodeName=n4 NodeAddr=$NET.14 Gres=gpu:1g.10gb:7
PartitionName=gpu Nodes=ALL Default=YES DefaultTime=01:00:00 MaxTime=1-00:00:00 State=UP
PartitionName=debug Nodes=n1 MaxTime=00:30:00 PriorityTier=10 State=UP
EOF
}
write_gres_conf() { cat <<EOF
AutoDetect=off
NodeName=n[1-2] Name=gpu Type=h100 File=$LAB/gpus/nvidia[0-3]
NodeName=n3 Name=gpu Type=a100 File=$LAB/gpus/nvidia[0-1]
NodeName=n3 Name=shard Count=16 File=$LAB/gpus/nvidia[0-1]
NodeName=n4 Name=gpu Type=1g.10gb File=$LAB/gpus/nvidia[0-6]
EOF
}
write_slurmdbd_conf() { cat <<EOF
AuthType=auth/munge
DbdHost=ctl
DbdAddr=$CTL
DbdPort=$DBD_PORT
SlurmUser=slurm
LogFile=$LAB/log/slurmdbd.log
PidFile=/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
EOF
}
add_accounts() {
  local name
  sacctmgr -i add cluster lab
  # The database learns from the controller that there is a gres/gpu to limit.
  start_controller
  until_ok 20 sacctmgr -i add qos tiny GrpTRESMins=gres/gpu=1
  sacctmgr -i add account lab,class Description=tests Organization=tests
  sacctmgr -i add user hub Account=lab AdminLevel=Operator
  for name in $PEOPLE; do sacctmgr -i add user "$name" Account=lab DefaultAccount=lab; done
  sacctmgr -i add user carol Account=class
  sacctmgr -i modify account lab,class set QOS=normal,tiny DefaultQOS=normal; }

# ---- In the world ----

spawn() { # name cmd…: in a session of its own; output to log/name.out, process id to /run/name.spawned
  local name=$1; shift
  setsid "$@" </dev/null >>"$LAB/log/$name.out" 2>&1 &
  echo $! >"/run/$name.spawned"
  disown; }
end() { # name [signal]
  local pid; pid=$(cat "/run/$1.spawned")
  kill -"${2:-TERM}" "$pid"; until_ok 20 test ! -d "/proc/$pid"; }
connects() { (exec 3<>"/dev/tcp/$1/$2"); }

start_munge() {
  install -d -o munge -g munge -m 700 "$LAB/munge"
  (umask 077; head -c 128 /dev/urandom >"$LAB/munge/key"); chown munge: "$LAB/munge/key"
  spawn munged setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --num-threads=4 \
    --key-file="$LAB/munge/key" --log-file="$LAB/munge/log" --seed-file="$LAB/munge/seed"
  until_ok 5 munge -n; }

plug_in() { # the network: a bridge, and a cable to each node
  local node
  ip link add "$BRIDGE" type bridge; ip addr add "$CTL/24" dev "$BRIDGE"; ip link set "$BRIDGE" up
  firewall -I
  for node in $NODES; do
    ip netns add "lk-$node"
    ip link add "$VETH$node" type veth peer name eth0 netns "lk-$node"
    ip link set "$VETH$node" master "$BRIDGE" up
    ip -n "lk-$node" -batch - <<<"addr add $NET.1${node#n}/24 dev eth0
      link set lo up
      link set eth0 up
      route add default via $CTL"
  done; }

start_database() { # from the tar of an earlier one where there is one: 1 s instead of 10
  local cache=$CACHE/labkit-slurm made_by tar
  made_by=$(mariadbd --version; slurmdbd -V; echo "$PEOPLE"; declare -f start_database start_mariadb add_accounts write_slurm_conf)
  tar=$cache/$(sha256sum <<<"$made_by" | head -c 16).tar
  install -d -o mysql -g mysql -m 700 "$LAB/mysql"
  if [ -f "$tar" ]; then
    tar -C "$LAB/mysql" -xpf "$tar"; start_mariadb; start_slurmdbd; return
  fi
  # Its temporary files are called by its process id, which another cluster's may have, too.
  TMPDIR=$LAB/mysql mariadb-install-db --no-defaults --force --user=mysql --datadir="$LAB/mysql" \
    --auth-root-authentication-method=socket --skip-test-db >"$LAB/log/mariadb-install.out" 2>&1
  start_mariadb
  mariadb --no-defaults -e "create database slurm_acct_db; create user slurm@localhost identified via unix_socket;
    grant all on slurm_acct_db.* to slurm@localhost"
  start_slurmdbd
  add_accounts >"$LAB/log/accounts.out"
  end slurmctld KILL; rm -rf "$LAB"/state/*
  end slurmdbd; end mariadbd
  install -d -m 700 "$cache"; rm -f "$cache"/*.tar
  tar -C "$LAB/mysql" -cpf "$tar.new$NUMBER" . && mv "$tar.new$NUMBER" "$tar" # another cluster may make it too
  start_mariadb; start_slurmdbd; }
start_mariadb() {
  spawn mariadbd mariadbd --no-defaults --user=mysql --datadir="$LAB/mysql" --tmpdir="$LAB/mysql" --skip-networking \
    --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid --skip-log-bin --performance-schema=0 \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --innodb-log-file-size=8M --innodb-lock-wait-timeout=900
  until_ok 60 mariadb --no-defaults -e 'select 1'; }
start_slurmdbd() { spawn slurmdbd slurmdbd -D; until_ok 30 connects "$CTL" "$DBD_PORT"; }

start_controller() { spawn slurmctld slurmctld -D; }
controller_answers() { scontrol ping | grep -q UP; }
nodes_are_idle() { [ "$(sinfo -h -p gpu -o '%T %D')" = "idle 4" ]; }

inside_up() { # pythonX.Y started-us
  STARTED_US=$2
  "$LAB/python/bin/$1" "$LAB/checkout/tests/slurm/job_python.py" "$LAB" &
  local venv=$! node
  chown slurm: "$LAB/state" "$LAB/log"; chmod 700 "$LAB/state"
  start_munge
  plug_in; say network
  start_database; say database
  start_controller
  for node in $NODES; do boot "$node"; done
  wait $venv; say Python
  until_ok 20 controller_answers
  until_ok 30 nodes_are_idle
  say "4 nodes idle"; }

boot() { # node
  spawn "$1" nsenter --net="/run/netns/lk-$1" unshare --uts --mount --pid --fork --mount-proc \
    bash "$LAB/checkout/tests/slurm/cluster.sh" node "$1"; }
node() { # name: the node's first process; starts slurmd, reaps orphans, ends when slurmd does
  local disk=$LAB/nodes/$1 slurmd
  hostname "$1"
  mkdir -p "$disk" "$LAB/spool/$1"; install -d -m 1777 "$disk/tmp"
  if [[ $LAB == /tmp/* ]]; then mkdir -p "$disk$LAB"; mount --rbind "$LAB" "$disk$LAB"; fi
  mount --rbind "$disk/tmp" /tmp
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  slurmd -D &
  slurmd=$!
  while [ -d /proc/$slurmd ]; do wait -n || [ $? != 127 ] || exit; done; }
fill() { # folder: down to the last byte; what is written late is written for sure after sync
  fallocate --length "$(df --output=avail --block-size=1 "$1" | tail -1)" "$1/filler" || true
  for _ in 1 2 3; do cat /dev/zero 2>/dev/null >>"$1/filler" || true; sync --file-system "$1"; done; }
crash() { end_namespace "$(cat "/run/$1.spawned")"; }

inside_exec() {
  local user=root node='' option
  while getopts u:n: option; do case $option in u) user=$OPTARG ;; n) node=$OPTARG ;; *) exit 2 ;; esac; done
  shift $((OPTIND - 1))
  [ -n "$node" ] || as "$user" "$@"
  exec nsenter --target "$(pgrep -P "$(cat "/run/$node.spawned")")" --net --uts --mount --pid -- \
    setpriv --pdeathsig KILL -- bash "$LAB/checkout/tests/slurm/cluster.sh" as "$user" "$@"; }
as() { # user cmd…
  local user=$1 home; shift
  home=$(getent passwd "$user" | cut -d: -f6); cd "$home"
  exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --reset-env --pdeathsig KILL -- "$@"; }

command=${1:-}; shift || true
case $command in
  up | down | debian | world | node | as) $command "$@" ;;
  status | exec | node-cut | node-heal | node-crash | node-boot | ctld-stop | ctld-start) inside "$command" "$@" ;;
  disk-hang | disk-fill | disk-empty) inside "$command" "$@" ;;
  inside-up) inside_up "$@" ;;
  inside-exec) inside_exec "$@" ;;
  inside-status) sinfo -N -p gpu -o '%N %T %G %E'; squeue ;;
  inside-node-cut) ip link set "$VETH$1" down ;;
  inside-node-heal) ip link set "$VETH$1" up ;;
  inside-node-crash) crash "$1" ;;
  inside-node-boot) boot "$1" ;;
  inside-ctld-stop) end slurmctld ;;
  inside-disk-hang) fsfreeze --freeze "$LAB/disk"; sleep "$1"; fsfreeze --unfreeze "$LAB/disk" ;;
  inside-disk-fill) fill "$LAB/disk" ;;
  inside-disk-empty) rm -f "$LAB/disk/filler" ;;
  inside-ctld-start) start_controller; until_ok 20 controller_answers ;;
  *) sed -n '2,/^$/s/^# \?//p' "$0" ;;
esac
