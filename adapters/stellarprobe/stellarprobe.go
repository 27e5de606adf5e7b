// Package stellarprobe asks Stellar's services whether they are well, for the health report. It sends no transaction and
// needs no key.
package stellarprobe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ErrUnwell means that a service answers, but not as one that can be used. Any other error means that it does not answer.
var ErrUnwell = errors.New("it answers, but is not well")

// maxAnswer bounds what is read of an answer; a healthy one is far shorter.
const maxAnswer = 64 << 10

// Probe asks one service. It keeps to the time of its context.
type Probe func(ctx context.Context) error

// RPC asks a Soroban RPC server by its method getHealth. A JSON-RPC error comes with status 200, so the body decides.
func RPC(client *http.Client, server *url.URL) Probe {
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"getHealth"}`)
	return func(ctx context.Context) error {
		var answer struct {
			Result *struct {
				Status string `json:"status"`
			} `json:"result"`
			Error *struct {
				Code    int    `json:"code"`
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := ask(ctx, client, http.MethodPost, server, body, &answer); err != nil {
			return fmt.Errorf("soroban rpc: %w", err)
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("soroban rpc: error %d %q: %w", answer.Error.Code, answer.Error.Message, ErrUnwell)
		case answer.Result == nil || answer.Result.Status != "healthy":
			return fmt.Errorf("soroban rpc: no healthy status: %w", ErrUnwell)
		}
		return nil
	}
}

// Horizon asks a Horizon server for its root, which names the newest ledger it has taken in. One that has none yet cannot
// be used.
func Horizon(client *http.Client, server *url.URL) Probe {
	return func(ctx context.Context) error {
		var root struct {
			Ledger int64 `json:"history_latest_ledger"`
		}
		if err := ask(ctx, client, http.MethodGet, server, nil, &root); err != nil {
			return fmt.Errorf("horizon: %w", err)
		}
		if root.Ledger <= 0 {
			return fmt.Errorf("horizon: no ledger taken in: %w", ErrUnwell)
		}
		return nil
	}
}

// ask sends a request and reads its JSON answer into out.
func ask(ctx context.Context, client *http.Client, method string, server *url.URL, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, server.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("status %d: %w", res.StatusCode, ErrUnwell)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", ErrUnwell)
	}
	return nil
}
