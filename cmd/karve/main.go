// Command karve is what people type: it starts and stops clusters on this machine, tells how they are, and carries
// kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

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
  karve why       say what is wrong in it, and what to do
  karve down      stop it; the data stays
  karve kubectl   kubectl, built in

Which cluster a command means: --name, else $KARVE_NAME, else that of kubectl's current context if it is on this
machine, else the only one that runs, else "karve". up, restore and down --purge heed the first two only.
karve completion bash|zsh|fish prints a script that completes commands, flags and names.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Version:           version.Build() + " (Kubernetes " + version.Kubernetes + ")",
	}
	cmd.AddCommand(upCommand(), downCommand(), shutdownCommand(), statusCommand(), whyCommand(), backupCommand(), restoreCommand(), rotateKeyCommand(), kubectlHelp())
	return cmd
}
