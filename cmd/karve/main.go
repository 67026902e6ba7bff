// Command karve is what people type: it starts and stops clusters on this machine, tells how they are, and carries
// kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/version"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "kubectl" {
		runKubectl(os.Args[1:])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "karve: "+err.Error())
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code.code)) //nolint:gocritic // nothing is left to clean up
	}
	os.Exit(1)
}

// exitCode is an error with an exit code of its own.
type exitCode struct {
	code int
	err  error
}

func (e exitCode) Error() string { return e.err.Error() }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "karve",
		Short: "Kubernetes workloads on the Docker Engine that this machine already has",
		Long: `Karve runs Kubernetes workloads on the Docker Engine that a machine already has.

  karve up        start a cluster (or say that it runs)
  karve status    show its parts and their health
  karve down      stop it; the data stays
  karve kubectl   kubectl, built in`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Version:           version.Build() + " (Kubernetes " + version.Kubernetes + ")",
	}
	cmd.AddCommand(upCommand(), downCommand(), shutdownCommand(), statusCommand(), whyCommand(), backupCommand(), restoreCommand(), rotateKeyCommand(), kubectlHelp())
	return cmd
}

// target is which cluster a command means.
type target struct {
	name    string
	dataDir string
}

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.name, "name", cluster.DefaultName, "the cluster's name")
	cmd.Flags().StringVar(&t.dataDir, "data-dir", "", "where it keeps its data (default "+cluster.DefaultRoot+"/NAME)")
}

func (t *target) dir() cluster.Dir {
	if t.dataDir != "" {
		if abs, err := filepath.Abs(t.dataDir); err == nil {
			return cluster.Dir(abs)
		}
		return cluster.Dir(t.dataDir)
	}
	return cluster.DirOf(t.name)
}

// again returns the flags that name the same cluster, for hints to the user.
func (t *target) again() string {
	out := ""
	if t.name != cluster.DefaultName {
		out += " --name " + t.name
	}
	if t.dataDir != "" {
		out += " --data-dir " + t.dataDir
	}
	return out
}
