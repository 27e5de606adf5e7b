//go:build unix

package pgserver

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// repository plays a Maven repository with an archive of fake programs; it counts the downloads.
func repository(t *testing.T) (address string, downloads func() int) {
	t.Helper()
	var packed, jar bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range append([]string{"other"}, all...) {
		body := fakeProgram(string(fetchVersion))
		if err := w.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeReg, Mode: 0o700, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(&jar)
	file, err := z.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(storeXZ(packed.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, string(fetchVersion)+".jar") {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		n++
		mu.Unlock()
		_, _ = w.Write(jar.Bytes())
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func useRepository(t *testing.T, address string) {
	t.Helper()
	t.Setenv(RepositoryEnv, address)
	t.Setenv("TMPDIR", t.TempDir()) // where the library leaves a log
}

func TestAFetchedPostgresIsKept(t *testing.T) {
	address, downloads := repository(t)
	useRepository(t, address)
	root := filepath.Join(t.TempDir(), "cache")
	var log bytes.Buffer
	for range 2 {
		bin, err := fetched(t.Context(), root, &log)
		if err != nil {
			t.Fatal(err)
		}
		if major, ok := majorOf(bin); !ok || major != 15 {
			t.Errorf("%s holds version %d", bin, major)
		}
	}
	if downloads() != 1 || strings.Count(log.String(), "fetching PostgreSQL") != 1 {
		t.Errorf("%d downloads, said %q", downloads(), log.String())
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	info, err := os.Stat(filepath.Join(root, left[0].Name(), "bin", "initdb"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("others cannot run it: %v, %v", info.Mode(), err)
	}
}

func TestFetchingTellsHowFarItIs(t *testing.T) {
	var told bytes.Buffer
	p := &progress{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, 5*megabyte))), whole: 5 * megabyte, told: &told}
	if _, err := io.Copy(io.Discard, p); err != nil {
		t.Fatal(err)
	}
	if first, rest, _ := strings.Cut(told.String(), "\n"); first != "  0.0 of 5.0 MB" || rest != "  5.0 of 5.0 MB\n" {
		t.Errorf("it told %q", told.String())
	}
	told.Reset()
	p = &progress{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, 2*megabyte))), whole: -1, told: &told, last: time.Now()}
	if _, err := io.Copy(io.Discard, p); err != nil || told.String() != "  2.0 MB\n" {
		t.Errorf("of a body without a length it told %q, %v", told.String(), err)
	}
	useRepository(t, "nonsense")
	if _, err := fetched(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "is not the URL of a Maven repository") {
		t.Errorf("got %v", err)
	}
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	useRepository(t, missing.URL)
	if _, err := fetched(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), missing.URL) || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("got %v", err)
	}
}

func TestProcessesThatFetchAtOnceShareOne(t *testing.T) {
	address, _ := repository(t)
	useRepository(t, address)
	root := t.TempDir()
	var (
		wg   sync.WaitGroup
		errs [4]error
	)
	for i := range errs {
		wg.Go(func() { _, errs[i] = fetched(t.Context(), root, nil) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestAMachineWithoutPostgresFetchesIt(t *testing.T) {
	lookOnlyIn(t, nil)
	address, _ := repository(t)
	useRepository(t, address)
	root := t.TempDir()
	bin, err := binaries(t.Context(), nil, func() (string, error) { return root, nil })
	if err != nil || !strings.HasPrefix(bin, root) {
		t.Errorf("%q, %v", bin, err)
	}
}

func TestWithoutPostgresTheErrorSaysWhatToDo(t *testing.T) {
	lookOnlyIn(t, []string{"/no/programs/here"}, "/nor/*/here")
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	useRepository(t, away.URL)
	root := t.TempDir()
	_, err := binaries(t.Context(), nil, func() (string, error) { return root, nil })
	if err == nil {
		t.Fatal("PostgreSQL was found nowhere")
	}
	for _, want := range []string{"/no/programs/here", "/nor/*/here", BinEnv, RepositoryEnv, away.URL} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	homeless := errors.New("no home")
	if _, err := binaries(t.Context(), nil, func() (string, error) { return "", homeless }); !errors.Is(err, homeless) {
		t.Errorf("without a folder: %v", err)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetched(t.Context(), file, nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("into a file: %v", err)
	}
}

func TestFetchingEndsWithItsContext(t *testing.T) {
	hangs, open := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(hangs)
		<-open
	}))
	defer s.Close()
	defer close(open)
	useRepository(t, s.URL)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-hangs
		cancel()
	}()
	if _, err := fetched(ctx, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
