package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"

	"karve.dev/karve/cmd/karve/internal/archive"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/transport"
)

func backupCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save a cluster's objects, settings and keys to a file, while it is in use",
		Long: `Save everything that a running cluster holds, as of one moment, to FILE ("-": the standard output).

The file is a zip with a checksum of every member, which karve restore verifies. It has the cluster's keys, those of
its Secrets among them: keep it as safe as the cluster's data directory.`,
		Example: `  karve backup monday.karve
  karve backup - | age -r RECIPIENT >monday.karve.age`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return backup(cmd.Context(), *t, args[0]) },
	}
	t.flags(cmd)
	return cmd
}

func backup(ctx context.Context, t target, path string) error {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if path == "-" {
		_, err := writeBackup(ctx, t.dir(), conn, os.Stdout)
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // readable by its owner only
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	defer os.Remove(file.Name())
	count, err := writeBackup(ctx, t.dir(), conn, file)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	fmt.Printf("saved %d objects, the settings and the keys in %s\n", count, path)
	return nil
}

// dial connects to the cluster's gRPC API as its administrator.
func (t *target) dial() (*grpc.ClientConn, error) {
	dir := t.dir()
	settings, known, err := dir.Load()
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("there is no cluster in %s: karve up%s makes one%s", dir, t.again(), t.others())
	}
	if _, ok := running(dir); !ok {
		return nil, fmt.Errorf("cluster %q is stopped: karve up%s starts it%s", settings.Name, t.again(), t.others())
	}
	config, err := adminTLS(dir)
	if err != nil {
		return nil, err
	}
	return transport.Dial(settings.GRPCListen, config)
}

func writeBackup(ctx context.Context, dir cluster.Dir, conn *grpc.ClientConn, to io.Writer) (count int, err error) {
	out := archive.NewWriter(to)
	keys, err := filepath.Glob(filepath.Join(dir.PKI(), "*"))
	if err != nil {
		return 0, fmt.Errorf("find the cluster's keys: %w", err)
	}
	files := map[string]string{archive.Settings: dir.SettingsFile(), archive.Secrets: dir.EncryptionKeys()}
	for _, key := range keys {
		if strings.HasPrefix(filepath.Base(key), ".") {
			continue // a lock
		}
		files[archive.Keys+filepath.Base(key)] = key
	}
	key, err := os.ReadFile(dir.EncryptionKeys())
	if err != nil {
		return 0, fmt.Errorf("read what to save: %w", err)
	}
	for name, path := range files {
		if err := addFile(out, name, path); err != nil {
			return 0, err
		}
	}
	member, err := out.Member(archive.Objects)
	if err != nil {
		return 0, err
	}
	if count, err = writeObjects(ctx, conn, member); err != nil {
		return 0, err
	}
	// What was encrypted with another key than the one that was saved could never be read.
	if now, err := os.ReadFile(dir.EncryptionKeys()); err != nil || !bytes.Equal(now, key) {
		return 0, errors.Join(errors.New("the key of Secrets has changed meanwhile: save again"), err)
	}
	if err := out.Close(); err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	return count, nil
}

func addFile(out *archive.Writer, name, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what to save: %w", err)
	}
	member, err := out.Member(name)
	if err == nil {
		_, err = member.Write(content)
	}
	return err
}

func writeObjects(ctx context.Context, conn *grpc.ClientConn, to io.Writer) (count int, err error) {
	stream, err := systemv1.NewMaintenanceServiceClient(conn).Backup(ctx, &systemv1.BackupRequest{})
	if err != nil {
		return 0, fmt.Errorf("ask for the objects: %w", err)
	}
	buffered := bufio.NewWriter(to)
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return count, buffered.Flush()
		}
		if err != nil {
			return 0, fmt.Errorf("read the objects: %s", grpcstatus.Convert(err).Message())
		}
		for _, o := range message.GetObjects() {
			if _, err := protodelim.MarshalTo(buffered, o); err != nil {
				return 0, fmt.Errorf("write the backup: %w", err)
			}
			count++
		}
	}
}
