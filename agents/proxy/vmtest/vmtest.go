// Package vmtest runs a Go test binary inside a small virtual machine, for kernel features that the machine at hand
// lacks. The machine is emulated in software, boots Debian's cloud kernel in about three seconds, and has nothing but
// a console: what the tests print there is the result.
package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Inside is set in the environment of tests that run in the virtual machine.
const Inside = "KARVE_TEST_IN_VM"

// Config says what to run.
type Config struct {
	// Run chooses tests of the calling test's own binary, as -test.run does.
	Run string
	// Modules are inserted first, with what they depend on.
	Modules []string
	// Env is added to the tests' environment, as NAME=value.
	Env []string
	// Timeout bounds the whole run; the default is four minutes.
	Timeout time.Duration
}

const (
	exitMark    = "KARVE-VM-EXIT "
	memoryMiB   = "512"
	defaultTime = 4 * time.Minute
)

// Test boots a virtual machine, runs the tests there and mirrors their outcomes as subtests. It fails, never skips,
// where something is missing, and says how to get it.
func Test(t *testing.T, c Config) {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = defaultTime
	}
	m := machine{config: c}
	if err := m.prepare(t); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	output, err := m.boot(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("no end within %s", c.Timeout)
	}
	report(t, output, err)
}

type machine struct {
	config          Config
	kernel, busybox string
	qemu, initramfs string
}

func (m *machine) prepare(t *testing.T) error {
	var err error
	if m.qemu, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		return fmt.Errorf("no emulator: apt-get install -y qemu-system-x86 (%w)", err)
	}
	if m.busybox, err = exec.LookPath("busybox"); err != nil {
		return fmt.Errorf("no shell for the virtual machine: apt-get install -y busybox-static (%w)", err)
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
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			out := filepath.Join(t.TempDir(), "tests")
			cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", out, ".")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if text, err := cmd.CombinedOutput(); err != nil {
				return "", fmt.Errorf("build a static test binary: %w\n%s", err, text)
			}
			return out, nil
		}
	}
	return self, nil
}

func (m *machine) pack(binary string, modules []string) error {
	out, err := os.Create(m.initramfs)
	if err != nil {
		return err
	}
	defer out.Close()
	a := &archive{w: out}
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "tmp", "run", "modules"} {
		a.directory(dir)
	}
	files := map[string]string{"bin/busybox": m.busybox, "tests": binary}
	var inserts strings.Builder
	for i, path := range modules {
		name := fmt.Sprintf("modules/%03d.ko", i)
		files[name] = path
		fmt.Fprintf(&inserts, "insmod /%s || echo cannot insert %s\n", name, filepath.Base(path))
	}
	for name, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.file(name, content)
	}
	a.file("init", []byte(m.script(inserts.String())))
	return a.close()
}

func (m *machine) script(inserts string) string {
	env := strings.Join(append([]string{Inside + "=1", "PATH=/bin:/sbin", "HOME=/tmp", "TMPDIR=/tmp"}, m.config.Env...), " ")
	return `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
` + inserts + `
cd /tmp
env ` + env + ` /tests -test.v -test.run '` + m.config.Run + `' 2>&1
echo "` + exitMark + `$?"
poweroff -f
`
}

func (m *machine) boot(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, m.qemu,
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", memoryMiB,
		"-kernel", m.kernel, "-initrd", m.initramfs, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on",
		"-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return strings.ReplaceAll(output.String(), "\r", ""), err
}

var outcome = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \((.*)\)`)

// report mirrors what ran in the machine. Nothing that passed means that nothing was tested.
func report(t *testing.T, output string, err error) {
	t.Helper()
	passed, failed := 0, err != nil || !strings.Contains(output, exitMark+"0\n")
	for in := bufio.NewScanner(strings.NewReader(output)); in.Scan(); {
		m := outcome.FindStringSubmatch(in.Text())
		if m == nil {
			continue
		}
		t.Run(strings.TrimPrefix(m[2], t.Name()+"/"), func(t *testing.T) {
			t.Logf("%s in the virtual machine", m[3])
			switch m[1] {
			case "PASS":
				passed++
			case "FAIL":
				failed = true
				t.Fail()
			case "SKIP":
				failed = true
				t.Error("tests in the virtual machine must not be skipped")
			}
		})
	}
	if failed || passed == 0 {
		t.Errorf("the virtual machine's tests failed (%v, %d passed); its console said:\n%s", err, passed, output)
	}
}
