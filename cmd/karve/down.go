package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/cluster"
)

func downCommand() *cobra.Command {
	t, purge := &target{}, false
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster and remove its containers, networks and rules; its data stays",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return down(cmd.Context(), *t, purge) },
	}
	t.flags(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		t.guess = !purge // what is removed for good must be named
		err := t.choose(cmd)
		t.guess = t.guess || t.named // where the one that is named has its data is no guess
		return err
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data too: everything that the cluster holds is gone")
	return cmd
}

func down(ctx context.Context, t target, purge bool) error {
	if os.Geteuid() != 0 {
		return errors.New("stopping a cluster needs root: run sudo karve down" + t.again())
	}
	dir := t.dir()
	settings, known, err := dir.Load()
	if err != nil && !purge {
		return err
	}
	if !known && err == nil {
		fmt.Printf("karve: there is no cluster in %s\n", dir)
		return nil
	}
	if pid, ok := running(dir); ok {
		if err := stopDaemon(dir, pid); err != nil {
			return err
		}
		fmt.Printf("stopped the cluster %q\n", settings.Name)
	}
	if err := cleanUp(ctx, dir); err != nil {
		return err
	}
	fmt.Println("removed its containers, networks and rules")
	if !purge {
		fmt.Printf("its data stays in %s: karve up%s starts it again, karve down --purge%s removes it\n", dir, t.again(), t.again())
		return nil
	}
	disconnect(settings.Name)
	if err := os.RemoveAll(string(dir)); err != nil {
		return fmt.Errorf("remove the cluster's data: %w", err)
	}
	fmt.Printf("removed its data in %s\n", dir)
	return nil
}

// cleanUp lets the daemon's program remove what the agents have made: it knows the engine and the kernel, this one
// does not.
func cleanUp(ctx context.Context, dir cluster.Dir) error {
	path, err := daemonPath()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "cleanup", "--data-dir", string(dir))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("remove the cluster's containers, networks and rules: %w", err)
	}
	return nil
}
