// Command karved is the daemon: all of Karve's services and agents in one process (karved run), or one of them by name
// (karved api, karved gateway, …). It holds flags and wiring only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "karved: "+err.Error())
		os.Exit(1) //nolint:gocritic // nothing is left to clean up
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "karved",
		Short:             "The services and agents of Karve",
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Version:           version.Build() + " (Kubernetes " + version.Kubernetes + ")",
	}
	cmd.AddCommand(runCommand(), apiCommand(), cleanupCommand(), issueCommand())
	for _, r := range roles() {
		cmd.AddCommand(r.command())
	}
	return cmd
}
