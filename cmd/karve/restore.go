package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"

	"karve.dev/karve/cmd/karve/internal/archive"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/cluster"
)

func restoreCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a cluster hold what a backup holds, while it is in use",
		Long: `Verify the checksums of a backup and make a cluster hold exactly what it holds: objects that came later are deleted.

A running cluster goes on running: those who write are told to come again, those who watch see the changes. It keeps its keys. A
cluster that does not exist is made, with the backup's keys and settings.`,
		Example: `  karve restore monday.karve
  karve restore --name copy monday.karve`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return restore(cmd.Context(), *t, args[0])
		},
	}
	t.exactFlags(cmd)
	return cmd
}

func restore(ctx context.Context, t target, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	saved, err := archive.Open(file, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w; nothing was changed", path, err)
	}
	if err := makeCluster(&t, saved); err != nil {
		return err
	}
	if _, ok := running(t.dir()); !ok {
		if err := up(ctx, asBefore(t)); err != nil {
			return err
		}
	}
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	result, err := sendObjects(ctx, conn, saved)
	if err != nil {
		return err
	}
	fmt.Printf("restored: %d objects written, %d deleted, %d were as they should be\n", result.GetWritten(), result.GetDeleted(), result.GetUnchanged())
	return nil
}

// makeCluster lays the data directory of a cluster that does not exist, with the backup's keys and settings.
func makeCluster(t *target, saved *archive.Reader) error {
	var settings cluster.Settings
	raw, err := content(saved, archive.Settings)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &settings); err != nil {
		return fmt.Errorf("read the backup's settings: %w", err)
	}
	if t.named {
		settings.Name = t.name
	} else if t.dataDir == "" {
		t.name = settings.Name
	}
	if err := settings.Validate(); err != nil {
		return fmt.Errorf("the backup's settings: %w", err)
	}
	dir := t.dir()
	if _, known, err := dir.Load(); known || err != nil {
		return err
	}
	if err := os.MkdirAll(dir.PKI(), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	files := map[string]string{archive.Secrets: dir.EncryptionKeys()}
	for _, name := range saved.Names(archive.Keys) {
		files[name] = filepath.Join(dir.PKI(), filepath.Base(name))
	}
	for name, path := range files {
		key, err := content(saved, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, key, 0o600); err != nil {
			return fmt.Errorf("write the cluster's keys: %w", err)
		}
	}
	return dir.Save(settings)
}

func content(saved *archive.Reader, name string) ([]byte, error) {
	member, err := saved.Member(name)
	if err != nil {
		return nil, err
	}
	defer member.Close()
	return io.ReadAll(member)
}

// sendBatch is how many objects one message takes at most, sendBytes about how large it gets.
const (
	sendBatch = 500
	sendBytes = 1 << 20
)

func sendObjects(ctx context.Context, conn *grpc.ClientConn, saved *archive.Reader) (*systemv1.RestoreResponse, error) {
	keys, err := content(saved, archive.Secrets)
	if err != nil {
		return nil, err
	}
	objects, err := saved.Member(archive.Objects)
	if err != nil {
		return nil, err
	}
	defer objects.Close()
	stream, err := systemv1.NewMaintenanceServiceClient(conn).Restore(ctx)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	err = sendAll(stream, keys, bufio.NewReader(objects))
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the server's answer says why
		return nil, err
	}
	result, err := stream.CloseAndRecv()
	if err != nil {
		return nil, fmt.Errorf("restore: %s", grpcstatus.Convert(err).Message())
	}
	return result, nil
}

func sendAll(stream systemv1.MaintenanceService_RestoreClient, keys []byte, from *bufio.Reader) error {
	message, size := &systemv1.RestoreRequest{SecretsKeys: keys}, 0
	for {
		o := &systemv1.StoredObject{}
		err := protodelim.UnmarshalOptions{MaxSize: 16 * sendBytes}.UnmarshalFrom(from, o)
		if errors.Is(err, io.EOF) {
			message.Complete = true
			return stream.Send(message)
		}
		if err != nil {
			return fmt.Errorf("read the backup's objects: %w", err)
		}
		message.Objects = append(message.Objects, o)
		if size += len(o.GetValue()); size < sendBytes && len(message.GetObjects()) < sendBatch {
			continue
		}
		if err := stream.Send(message); err != nil {
			return err
		}
		message, size = &systemv1.RestoreRequest{}, 0
	}
}
