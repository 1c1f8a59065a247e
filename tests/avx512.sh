#!/bin/sh
# Runs tests of mlc-cpu on an emulated x86-64 with AVX-512, for machines that have none.
#
#   cargo test -p mlc-cpu --no-run            # prints the test binary
#   tests/avx512.sh TEST_BINARY VMLINUZ [FILTER]...
#
# Needs bochs with its terminal display, isolinux, xorriso, cpio, a static busybox, and the image of a
# Linux kernel with a serial console (on Debian: bochs bochs-term isolinux syslinux-common xorriso cpio
# busybox-static, and the file boot/vmlinuz-* of a linux-image-*-cloud-amd64 package). The output of the
# tests is in serial.txt of the folder that is printed. Emulation is some hundred times slower than a
# machine: `tile::tests tests::loops tests::machine` take minutes, the contractions take hours.
#
# The emulator's F16C instructions fault (Bochs 2.7), so they are switched off; nothing of ours needs them.
set -eu
binary=$1 kernel=$2
shift 2
work=$(mktemp -d)
cd "$work"
echo "$work"

mkdir -p root/bin root/proc root/dev root/tmp root/lib64 root/lib/x86_64-linux-gnu iso/isolinux
cp /bin/busybox root/bin/
for name in sh mount poweroff; do ln -s busybox root/bin/$name; done
strip -o root/tests "$binary"
cp -L /lib64/ld-linux-x86-64.so.2 root/lib64/
for lib in libc.so.6 libm.so.6 libgcc_s.so.1; do
    cp -L /lib/x86_64-linux-gnu/$lib root/lib/x86_64-linux-gnu/
done
cat > root/init <<INIT
#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
for filter in ${*:-tile::tests tests::loops tests::machine}; do
    echo "== \$filter"
    /tests --test-threads=1 \$filter 2>&1
done
poweroff -f
INIT
chmod +x root/init
(cd root && find . | cpio -o -H newc --quiet) | gzip -1 > iso/initrd.gz
cp "$kernel" iso/vmlinuz
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 iso/isolinux/
cat > iso/isolinux/isolinux.cfg <<CFG
DEFAULT mlc
PROMPT 0
LABEL mlc
 KERNEL /vmlinuz
 APPEND initrd=/initrd.gz console=ttyS0 nokaslr mitigations=off nosmp lpj=1000000 tsc=reliable no_timer_check nowatchdog random.trust_cpu=on
CFG
xorriso -as mkisofs -quiet -o boot.iso -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table iso

cat > bochsrc <<CFG
display_library: term
cpu: model=bx_generic, count=1, ips=50000000, reset_on_triple_fault=0
cpuid: level=6, x86_64=1, mmx=1, sep=1, simd=avx512, aes=1, movbe=1, adx=1, xsave=1, xsaveopt=1, bmi=bmi2, avx_f16c=0, avx_fma=1, fsgsbase=1, apic=xapic
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
clock: sync=none
log: bochs.log
panic: action=fatal
error: action=ignore
CFG
# A debugger that some builds have waits for this word; the display wants a terminal.
echo c > start
TERM=xterm script -qc "bochs -q -f bochsrc -rc start" /dev/null < /dev/null > screen.txt 2>&1 || true
cat serial.txt
