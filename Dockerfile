# The same files as `npm run image` writes without Docker (scripts/image/contents.ts says which).
FROM node:26-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
COPY proto/package.json proto/package.json
COPY sdk/node/package.json sdk/node/package.json
RUN npm ci
COPY . .
RUN node scripts/image/build.ts --rootfs /rootfs.tar && mkdir /rootfs && tar -xf /rootfs.tar -C /rootfs

FROM scratch
COPY --from=build /rootfs /
ENV NODE_ENV=production
WORKDIR /app
# A number, so that Kubernetes sees that it is not root.
USER 65532:65532
EXPOSE 7070 7080 6379
ENTRYPOINT ["/usr/local/bin/node", "--conditions=flowmesh-source", "/app/cli/main.ts"]
