# syntax=docker/dockerfile:1
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /callora ./cmd/callora

# Nothing but the binary and root certificates, as a user without rights.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /callora /callora
# In a container every interface is the container's own; APP_ENV has to be given.
ENV HOST=0.0.0.0
EXPOSE 3000
ENTRYPOINT ["/callora"]
CMD ["serve"]
