#!/usr/bin/env bash
# Runs a command in N virtual machines that are joined by software RDMA (Soft-RoCE). No special hardware or kernel: qemu
# emulates the machines, their root is this machine's root file system read-only, with a scratch layer above it.
#
#   rdma_vm.sh build                  fetches Debian's kernel and makes the boot files, unless they are newer than this script
#   rdma_vm.sh run N 'COMMAND'        boots N machines (1 to 4), runs the command in each, returns the worst exit code
#
# The command sees NODE (0..N-1), NODES, ADDR (its address on eth0), PEER0.. (all addresses), OUT (a folder that all
# machines and this one share), and can call `vm-barrier NAME`, which returns when all machines have called it. The RDMA
# device is rxe0 on eth0. Its output is printed at the end and lies in node*.log of the folder that RDMA_VM_DIR names.
#
# Environment: RDMA_VM_DIR (boot files and output), RDMA_VM_CORES=1, RDMA_VM_MEMORY=2048 (MiB), RDMA_VM_SECONDS=600.
set -euo pipefail
dir=${RDMA_VM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dslaunch-rdma-vm}
cores=${RDMA_VM_CORES:-1} memory=${RDMA_VM_MEMORY:-2048} seconds=${RDMA_VM_SECONDS:-600}
mtu=9000
modules=(virtio_pci virtio_net 9pnet_virtio 9p overlay rdma_rxe rdma_ucm ib_umad crc32_generic crc32-pclmul)

require_commands() {
  local missing=() each
  for each in "$@"; do command -v "$each" >/dev/null || missing+=("$each"); done
  if ((${#missing[@]})); then
    echo "missing: ${missing[*]}; install qemu-system-x86 busybox-static cpio kmod zstd iproute2 rdma-core" >&2
    exit 77
  fi
}

# The machine's first program: loads the modules, stacks the root, hands over to guest.sh in it.
first_program() {
  cat <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do
  # Soft-RoCE holds a process that ends until its last packet is freed, for up to 50 s. With napi_tx a packet that was
  # sent stays in the ring until the next one, which never comes when the link goes down.
  case $module in virtio_net.ko*) options=napi_tx=0 ;; *) options= ;; esac
  insmod "/modules/$module" $options || echo "cannot load $module"
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower || poweroff -f
mount -t tmpfs -o size=60% tmpfs /scratch
mkdir /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work overlay /root
for each in proc sys dev; do mount --move "/$each" "/root/$each"; done
mkdir -p /root/vm-out /root/dev/shm /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/run
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none out /root/vm-out
exec switch_root /root /bin/bash /vm-out/guest.sh
INIT
}

# Runs inside each machine: network, RDMA device, command, power off.
guest_program() {
  cat <<'GUEST'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root OUT=/vm-out
for word in $(cat /proc/cmdline); do
  case $word in vm.*) word=${word#vm.}; export "${word%%=*}=${word#*=}" ;; esac
done
export ADDR=10.77.0.$((NODE + 1))
for ((i = 0; i < NODES; i++)); do export "PEER$i=10.77.0.$((i + 1))"; done
hostname "vm$NODE"
ln -s /proc/self/fd /dev/fd
ulimit -l unlimited
ulimit -c 0
ip link set lo up
[[ -e /sys/class/net/eth0 ]] || ip link add eth0 type dummy
ip link set eth0 mtu "$MTU" up
ip addr add "$ADDR/24" dev eth0
for ((i = 0; i < 50; i++)); do
  ip -6 addr show dev eth0 tentative | grep -q tentative || break
  sleep 0.1
done
rdma link add rxe0 type rxe netdev eth0 || echo "cannot make the RDMA device"
sysctl -qw net.core.rmem_max=67108864 net.core.wmem_max=67108864
cat >/usr/local/bin/vm-barrier <<'BARRIER'
#!/bin/bash
touch "$OUT/barrier.$1.$NODE"
for ((i = 0; i < 3000; i++)); do
  here=("$OUT/barrier.$1".*)
  ((${#here[@]} == NODES)) && exit 0
  sleep 0.2
done
exit 1
BARRIER
chmod +x /usr/local/bin/vm-barrier
vm-barrier up
cd /
bash "$OUT/command.sh" </dev/null >"$OUT/node$NODE.log" 2>&1
echo $? >"$OUT/node$NODE.rc"
dmesg >"$OUT/node$NODE.dmesg"
sync
echo o >/proc/sysrq-trigger
sleep 5
/bin/busybox poweroff -f
GUEST
}

build() {
  [[ -s $dir/vmlinuz && $dir/initrd.img -nt ${BASH_SOURCE[0]} ]] && return
  require_commands qemu-system-x86_64 busybox cpio depmod zstd dpkg-deb apt-get
  local package version tree root file each
  package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
  version=${package#linux-image-}
  tree=$dir/kernel root=$dir/initrd
  rm -rf "$tree" "$root"
  mkdir -p "$tree" "$root"/{bin,proc,sys,dev,modules,lower,scratch,root}
  (cd "$tree" && apt-get download -qq "$package" && dpkg-deb --fsys-tarfile ./*.deb | tar -x && rm -f ./*.deb)
  depmod -b "$tree" "$version"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for each in "${modules[@]}"; do
    modprobe -S "$version" -d "$tree" --show-depends "$each" | awk '$1 == "insmod" {print $2}' |
      while read -r file; do
        [[ -e $root/modules/${file##*/} ]] && continue
        cp "$file" "$root/modules/"
        echo "${file##*/}" >>"$root/modules/order"
      done
  done
  first_program >"$root/init"
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | zstd -3 -q -f -o "$dir/initrd.img")
  cp "$tree/boot/vmlinuz-$version" "$dir/vmlinuz"
  rm -rf "$tree" "$root"
}

network_of() { # NODE NODES: the options of one machine's network card
  local node=$1 nodes=$2 role=on
  ((nodes > 1)) || return 0
  if ((nodes == 2)); then
    ((node == 0)) || role=off
    echo "-netdev stream,id=net,server=$role,addr.type=unix,addr.path=$dir/net.socket"
  else
    echo "-netdev socket,id=net,mcast=230.77.0.1:5577,localaddr=127.0.0.1"
  fi
  echo "-device virtio-net-pci,netdev=net,mac=52:54:00:77:00:0$((node + 1)),host_mtu=$mtu,romfile="
}

boot() { # NODE NODES
  local options
  read -r -d '' -a options <<<"$(network_of "$1" "$2")" || true
  exec timeout -k 5 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=256 -cpu max -machine q35 \
    -smp "$cores" -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
    -serial "file:$dir/out/node$1.console" -kernel "$dir/vmlinuz" -initrd "$dir/initrd.img" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check \
net.ifnames=0 random.trust_cpu=on vm.NODE=$1 vm.NODES=$2 vm.MTU=$mtu" \
    -device virtio-rng-pci \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=out,path=$dir/out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out \
    "${options[@]}" </dev/null >"$dir/out/node$1.qemu" 2>&1
}

run() { # NODES COMMAND
  local nodes=$1 node pids=() worst=0 code
  build
  rm -rf "$dir/out" "$dir/net.socket"
  mkdir -p "$dir/out"
  guest_program >"$dir/out/guest.sh"
  printf '%s\n' "$2" >"$dir/out/command.sh"
  for ((node = 0; node < nodes; node++)); do
    boot "$node" "$nodes" &
    pids+=($!)
    if ((nodes == 2 && node == 0)); then
      for ((i = 0; i < 100; i++)); do
        [[ -S $dir/net.socket ]] && break
        sleep 0.1
      done
    fi
  done
  trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
  for node in "${pids[@]}"; do wait "$node" || true; done
  trap - EXIT
  for ((node = 0; node < nodes; node++)); do
    code=$(cat "$dir/out/node$node.rc" 2>/dev/null || echo 125)
    echo "== machine $node: exit code $code"
    cat "$dir/out/node$node.log" 2>/dev/null || true
    if ((code == 125)); then tail -n 30 "$dir/out/node$node.qemu" "$dir/out/node$node.console"; fi
    ((code <= worst)) || worst=$code
  done
  return "$worst"
}

case ${1:-} in
  build) build ;;
  run) run "${2:?number of machines}" "${3:?command}" ;;
  *) sed -n '2,14p' "$0"; exit 2 ;;
esac
