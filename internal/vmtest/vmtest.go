// Package vmtest runs a Go test binary inside a small virtual machine, for kernel features that the machine at hand
// lacks. The machine is emulated in software, boots Debian's cloud kernel in about three seconds, and has nothing but
// a console: what the tests print there is the result.
package vmtest

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Inside is set in the environment of tests that run in the virtual machine.
const Inside = "KARVE_TEST_IN_VM"

// Config says what to run, and where.
type Config struct {
	// Run chooses tests of the calling test's own binary, as -test.run does.
	Run string
	// Modules are inserted first, with what they depend on.
	Modules []string
	// Programs of this machine are there, too, in /bin and with their libraries: names or paths.
	Programs []string
	// Files are files and folders of this machine, by their place in the virtual one.
	Files map[string]string
	// Setup is a shell script that goes before the tests.
	Setup string
	// Kernel is added to the kernel's command line.
	Kernel string
	// Env is added to the tests' environment, as NAME=value.
	Env []string
	// Processors and MemoryMiB are what the machine has; the defaults are 1 and 512.
	Processors, MemoryMiB int
	// Timeout bounds the whole run; the default is four minutes.
	Timeout time.Duration
}

const exitMark = "KARVE-VM-EXIT "

// Test boots a virtual machine, runs the tests there and mirrors their outcomes as subtests. It fails, never skips,
// where something is missing, and says how to get it.
func Test(t *testing.T, c Config) {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 4 * time.Minute
	}
	c.Processors, c.MemoryMiB = max(c.Processors, 1), max(c.MemoryMiB, 512)
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
