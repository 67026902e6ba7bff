package vmtest

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

type machine struct {
	config                  Config
	qemu, kernel, initramfs string
}

func (m *machine) prepare(t *testing.T) error {
	var err error
	if m.qemu, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		return fmt.Errorf("no emulator: apt-get install -y qemu-system-x86 (%w)", err)
	}
	dir, err := kernelDirectory()
	if err != nil {
		return err
	}
	m.kernel = filepath.Join(dir, "vmlinuz")
	if _, err := os.Stat(m.kernel); err != nil {
		return fmt.Errorf("no kernel for the virtual machine: run scripts/vm-kernel.sh %s (%w)", dir, err)
	}
	modules, err := loadOrder(filepath.Join(dir, "modules"), m.config.Modules)
	if err != nil {
		return fmt.Errorf("%w: run scripts/vm-kernel.sh %s", err, dir)
	}
	binary, err := staticBinary(t)
	if err != nil {
		return err
	}
	m.initramfs = filepath.Join(t.TempDir(), "initramfs")
	return m.pack(binary, modules)
}

// kernelDirectory is where scripts/vm-kernel.sh unpacks to.
func kernelDirectory() (string, error) {
	if dir := os.Getenv("KARVE_VM_KERNEL"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("set KARVE_VM_KERNEL to where scripts/vm-kernel.sh puts the kernel: %w", err)
	}
	return filepath.Join(cache, "karve", "vm-kernel"), nil
}

// staticBinary returns the running test binary, or, where that one needs shared libraries (the race detector), one
// built without.
func staticBinary(t *testing.T) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := elf.Open(self)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if interpreter(file) == "" {
		return self, nil
	}
	out := filepath.Join(t.TempDir(), "tests")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a static test binary: %w\n%s", err, text)
	}
	return out, nil
}

// pack writes what the machine starts with: all of it lies in its memory.
func (m *machine) pack(binary string, modules []string) error {
	files := map[string]string{"tests": binary}
	var inserts strings.Builder
	for i, path := range modules {
		name := fmt.Sprintf("modules/%03d.ko", i)
		files[name] = path
		fmt.Fprintf(&inserts, "insmod /%s || echo cannot insert %s\n", name, filepath.Base(path))
	}
	for _, program := range append([]string{"busybox"}, m.config.Programs...) {
		if err := addProgram(files, program); err != nil {
			return err
		}
	}
	for place, path := range m.config.Files {
		if err := addTree(files, strings.TrimPrefix(place, "/"), path); err != nil {
			return err
		}
	}
	out, err := os.Create(m.initramfs)
	if err != nil {
		return err
	}
	defer out.Close()
	a := newArchive(out)
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "tmp", "run", "modules", "mnt"} {
		a.directory(dir)
	}
	for name, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.file(name, content)
	}
	a.file("init", []byte(initScript))
	a.file("start", []byte(m.script(inserts.String())))
	return a.close()
}

// initScript binds the first root over itself: the kernel does not let that one be left for another, as containers do.
const initScript = `#!/bin/busybox sh
/bin/busybox mount --bind / /mnt
cd /mnt
/bin/busybox mount --move . /
exec /bin/busybox chroot . /start
`

func (m *machine) script(inserts string) string {
	env := strings.Join(append([]string{Inside + "=1", "HOME=/tmp", "TMPDIR=/tmp"}, m.config.Env...), " ")
	return `#!/bin/busybox sh
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
` + inserts + m.config.Setup + `
cd /tmp
env ` + env + ` /tests -test.v -test.run '` + m.config.Run + `' 2>&1
echo "` + exitMark + `$?"
poweroff -f
`
}

func (m *machine) boot(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, m.qemu,
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(m.config.Processors), "-m", strconv.Itoa(m.config.MemoryMiB),
		"-kernel", m.kernel, "-initrd", m.initramfs, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on "+m.config.Kernel,
		"-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return strings.ReplaceAll(output.String(), "\r", ""), err
}
