package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Step is a shell command and what it must print.
type Step struct {
	// Run is for bash; kubectl in it is the stock one, with Shell's namespace.
	Run string
	// Want is what must be printed, errors included: all of it, or with a "~" in front a regular expression for a part of it.
	// Empty: anything.
	Want string
	// Fails is set where the command must exit with an error.
	Fails bool
}

// Shell runs commands in a folder and a namespace of their own.
type Shell struct {
	c   *Cluster
	t   testing.TB
	dir string
	// bin holds a kubectl that knows the shell's own kubeconfig, so that namespaces do not mix.
	bin string
}

// Shell makes the namespace and a folder with the given files.
func (c *Cluster) Shell(t testing.TB, namespace string, files map[string]string) *Shell {
	t.Helper()
	s := &Shell{c: c, t: t, dir: t.TempDir()}
	for name, content := range files {
		path := filepath.Join(s.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	raw, err := os.ReadFile(c.Kubeconfig())
	require.NoError(t, err)
	kubeconfig := filepath.Join(s.dir, ".kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, raw, 0o600))
	s.bin = t.TempDir()
	stock := "#!/bin/sh\nexport KUBECONFIG='" + kubeconfig + "'\nexec " + strings.Join(Stock(t), " ") + ` "$@"`
	require.NoError(t, os.WriteFile(filepath.Join(s.bin, "kubectl"), []byte(stock), 0o755))
	if namespace != "default" {
		s.Do(Step{Run: "kubectl create namespace " + namespace, Want: "namespace/" + namespace + " created"})
	}
	s.Do(Step{Run: "kubectl config set-context --current --namespace=" + namespace})
	return s
}

// Do runs steps in order.
func (s *Shell) Do(steps ...Step) {
	s.t.Helper()
	for _, step := range steps {
		out, err := s.Try(step.Run)
		what := "$ " + step.Run + "\n" + out
		require.Equal(s.t, step.Fails, err != nil, "%s%v", what, err)
		switch pattern, isPattern := strings.CutPrefix(step.Want, "~"); {
		case isPattern:
			require.Regexp(s.t, regexp.MustCompile("(?s)"+pattern), out, what)
		case step.Want != "":
			require.Equal(s.t, step.Want, strings.TrimSuffix(out, "\n"), what)
		}
	}
}

// Try runs a command and returns what it printed.
func (s *Shell) Try(command string) (string, error) {
	return s.c.run("bash", "", "-c", "PATH='"+s.bin+"':$PATH; cd '"+s.dir+"'; "+command)
}
