package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pair returns the two ends of a loopback connection, the first as a gateway accepts it.
func pair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lis.Close()
	theirs, err = net.Dial("tcp", lis.Addr().String())
	require.NoError(t, err)
	ours, err = batchListener{lis}.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { theirs.Close(); ours.Close() })
	return ours, theirs
}

func TestBatchesArriveWholeAndInOrder(t *testing.T) {
	ours, theirs := pair(t)
	var want bytes.Buffer
	go func() {
		for i := range 5000 {
			_, _ = ours.Write(bytes.Repeat([]byte{byte(i)}, i%700))
		}
		_ = ours.Close()
	}()
	for i := range 5000 {
		want.Write(bytes.Repeat([]byte{byte(i)}, i%700))
	}
	got, err := io.ReadAll(theirs)
	require.NoError(t, err, "what was written before the close still arrives")
	require.True(t, bytes.Equal(want.Bytes(), got))
}

func TestAWriteLargerThanTheBuffersArrivesWhole(t *testing.T) {
	ours, theirs := pair(t)
	want := make([]byte, 3*maxPending+maxPending/2)
	for i := range want {
		want[i] = byte(i / 251)
	}
	wrote := make(chan int, 1)
	go func() {
		n, _ := ours.Write(want)
		wrote <- n
		_ = ours.Close()
	}()
	got, err := io.ReadAll(theirs)
	require.NoError(t, err)
	require.Equal(t, len(want), <-wrote)
	require.True(t, bytes.Equal(want, got))
}

func TestWritersWaitForAClientThatIsFarBehindAndFailWhenItLeaves(t *testing.T) {
	ours, theirs := pair(t)
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := ours.Write(make([]byte, 64<<10)); err != nil {
				failed <- err
				return
			}
		}
	}()
	_, err := io.ReadFull(theirs, make([]byte, 1<<20))
	require.NoError(t, err)
	theirs.Close()
	require.Error(t, <-failed)
	_, err = ours.Write([]byte("x"))
	require.Error(t, err)
}

func TestLimiterQueuesABurstAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2)
		ctx := context.Background()
		require.True(t, l.acquire(ctx))
		require.True(t, l.acquire(ctx))
		var wg sync.WaitGroup
		outcomes := make(chan bool, 100)
		for range 2*queueFactor + 5 {
			wg.Go(func() { outcomes <- l.acquire(ctx) })
		}
		synctest.Wait()
		require.Len(t, outcomes, 5, "what exceeds the queue is refused at once")
		l.release()
		synctest.Wait()
		require.Len(t, outcomes, 6, "a free slot goes to who waits")
		time.Sleep(queueTime + time.Second)
		wg.Wait()
		require.Len(t, outcomes, 2*queueFactor+5, "nobody waits for ever")
	})
}

func TestCompressionIsForOtherMachines(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "deflate, gzip;q=0.5")
	r.RemoteAddr = "192.0.2.1:1234"
	require.True(t, wantsGzip(r))
	for _, local := range []string{"127.0.0.1:1", "[::1]:1"} {
		r.RemoteAddr = local
		require.False(t, wantsGzip(r))
	}
	for _, header := range []string{"", "identity", "gzip;q=0", "br"} {
		require.False(t, acceptsGzip(header), header)
	}
	big := bytes.Repeat([]byte("karve "), gzipThreshold)
	rec := httptest.NewRecorder()
	r.RemoteAddr = "192.0.2.1:1234"
	b := body{contentType: plainText, code: http.StatusOK, data: big}
	b.write(&response{ResponseWriter: rec}, r)
	require.Equal(t, "gzip", rec.Header().Get("Content-Encoding"))
	require.Less(t, rec.Body.Len(), len(big)/10)
}

func TestAuditIDsAreUUIDs(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, auditID(r))
	r.Header.Set("Audit-Id", "mine")
	require.Equal(t, "mine", auditID(r))
}
