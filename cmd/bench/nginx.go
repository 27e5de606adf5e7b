package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// nginxConfig is proxy_pass with connections kept, and nothing else: addresses of plain and secure upstream, directory, own
// address, connections, certificate.
const nginxConfig = `
daemon off;
worker_processes auto;
pid %[3]s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path %[3]s/body; proxy_temp_path %[3]s/proxy; fastcgi_temp_path %[3]s/f; uwsgi_temp_path %[3]s/u; scgi_temp_path %[3]s/s;
    keepalive_requests 100000000;
    upstream plain { server %[1]s; keepalive %[5]d; keepalive_requests 100000000; }
    upstream secure { server %[2]s; keepalive %[5]d; keepalive_requests 100000000; }
    server {
        listen %[4]s;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffers 16 8k;
        proxy_ssl_trusted_certificate %[6]s;
        proxy_ssl_verify on;
        proxy_ssl_name %[7]s;
        location / { proxy_pass http://plain; }
        location %[8]s { proxy_pass https://secure; }
    }
}
`

// nginx starts an nginx with workers as it comes, when there is one on this machine; else it is nil.
func (r *rig) startNginx(ctx context.Context) (*child, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, nil
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.dir, "nginx")
	if err := os.Mkdir(dir, 0o777); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(nginxConfig, r.upstream.addr, r.upstream.secure, dir, addr, r.opt.conns, r.tls.cert, localName, securePrefix)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	c, err := spawnServer(ctx, "nginx", addr, exec.Command(program, "-p", dir, "-c", file, "-e", "stderr"))
	if err != nil {
		return nil, err
	}
	r.ends = append(r.ends, c.stop)
	return c, nil
}
