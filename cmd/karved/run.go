package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/process"
)

// logOptions are the flags that every daemon has.
type logOptions struct{ level, format string }

func (o *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&o.format, "log-format", string(process.Console), "console or json")
}

func (o *logOptions) logger() (*zap.Logger, error) {
	log, _, err := process.NewLogger(os.Stderr, process.LogFormat(o.format), o.level)
	if err == nil {
		quietLibraries(log)
	}
	return log, err
}

func runCommand() *cobra.Command {
	var dataDir string
	var progress bool
	var logs logOptions
	var access *cluster.AccessFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a whole cluster, all services and agents, in this process",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger()
			if err != nil {
				return err
			}
			defer log.Sync() //nolint:errcheck // stderr cannot be synced everywhere
			return runCluster(cmd.Context(), cluster.Dir(dataDir), access, tellOn(progress), log)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", string(cluster.DirOf(cluster.DefaultName)), "where the cluster keeps its data, with its settings in cluster.json (karve up writes them)")
	cmd.Flags().BoolVar(&progress, "progress", false, "tell steps on file descriptor 3")
	logs.flags(cmd)
	access = cluster.NewAccessFlags(cmd.Flags())
	return cmd
}

func tellOn(progress bool) *cluster.Progress {
	if !progress {
		return cluster.NewProgress(nil)
	}
	return cluster.NewProgress(os.NewFile(cluster.ProgressFD, "progress"))
}

// runCluster runs everything until ctx ends. Why a start failed is told on progress, too.
func runCluster(ctx context.Context, dir cluster.Dir, access *cluster.AccessFlags, progress *cluster.Progress, log *zap.Logger) (err error) {
	began := time.Now()
	ready := false
	defer func() {
		if err != nil && !ready {
			progress.Tell(cluster.Step{Error: err.Error()})
		}
	}()
	dir, err = absolute(dir)
	if err != nil {
		return err
	}
	release, err := lock(dir)
	if err != nil {
		return err
	}
	defer release()
	settings, known, err := dir.Load()
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%s is missing: karve up makes it", dir.SettingsFile())
	}
	if err := access.Apply(&settings.Access); err != nil {
		return err
	}
	if err := cluster.Claim(settings.Name, dir); err != nil {
		return err
	}
	step := func(name string) {
		progress.Tell(cluster.Step{Name: name, Milliseconds: time.Since(began).Milliseconds()})
	}
	d, err := newDaemon(ctx, dir, settings, log, step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	d.onReady(func() {
		ready = true
		step("node Ready")
		progress.Tell(cluster.Step{Ready: true})
		log.Info("the cluster is up", zap.Duration("took", time.Since(began)))
	})
	return d.group.Run(ctx)
}

func absolute(dir cluster.Dir) (cluster.Dir, error) {
	abs, err := filepath.Abs(string(dir))
	if err != nil {
		return "", fmt.Errorf("data directory %s: %w", dir, err)
	}
	return cluster.Dir(abs), nil
}
