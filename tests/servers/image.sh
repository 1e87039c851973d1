# For the scripts beside it: the image of their containers, made of busybox alone.
#
#   make_image                    writes what it holds, as a tar
#   IMAGE                         what it is called: a name that no engine looks for elsewhere
IMAGE=localhost/busybox:latest

make_image() {
    mkdir -p "$D/image/bin"
    cp /bin/busybox "$D/image/bin/"
    local name
    for name in sh cat sleep ln mkdir echo touch; do ln -s busybox "$D/image/bin/$name"; done
    tar -C "$D/image" -c .
}
