# Part of facts.sh: each package that profiles/newcomers.yaml adds, at work.

tell agent "$(systemctl is-active qemu-guest-agent.service)"
tell nginx "$(systemctl is-active nginx.service)"
tell postgresql "$(systemctl is-active postgresql@17-main.service)"

# A request by the shell's own means: its status without the protocol.
exec 3<> /dev/tcp/127.0.0.1/80
printf 'GET / HTTP/1.0\r\n\r\n' >&3
IFS= read -r -t 60 status <&3
status=${status%$'\r'}
tell http "${status#* }"
exec 3>&-

query() { timeout 120 setpriv --reuid=postgres --regid=postgres --init-groups psql -qtAc "$1" 2>&1 | tr '\n' ';'; }
tell select "$(said=$(query 'select 1'); echo "${said%;}")"
[ $boot = 1 ] && query 'create table kept as select 1 as a' > /dev/null
tell kept_rows "$(said=$(query 'select count(*) from kept'); echo "${said%;}")"

if [ $boot = 1 ]; then
    screen=$(TERM=linux timeout 60 script -qec 'stty rows 24 cols 80; htop --readonly --max-iterations 2' /dev/null < /dev/null)
    if [[ $screen == *Load*average* && $screen == *Tasks* ]]; then tell htop drawn; else tell htop "${screen:0:200}"; fi

    timeout 120 tcpdump -l -nn -c 1 -i lo icmp > $given/seen 2> $given/listening &
    capture=$!
    for _ in {1..100}; do
        grep -q 'listening on lo' $given/listening && break
        sleep 0.2
    done
    said=$(timeout 60 setpriv --reuid=65534 --regid=65534 --clear-groups ping -c 2 127.0.0.1 2>&1)
    if [[ $said == *' 0% packet loss'* ]]; then tell ping answered; else tell ping "${said//$'\n'/; }"; fi
    said=$(timeout 60 setpriv --reuid=65534 --regid=65534 --clear-groups fping 127.0.0.1 2>&1)
    tell fping "${said//$'\n'/; }"
    wait $capture
    if grep -q 'ICMP echo request' $given/seen; then tell tcpdump seen; else tell tcpdump "$(tr '\n' ';' < $given/listening)"; fi

    said=$(timeout 240 podman load --quiet --input $given/container.tar 2>&1) &&
        said=$(timeout 240 podman run --rm --network none "${said##*: }" 2>&1)
    tell podman "${said//$'\n'/; }"

    # A volume group on a file: written, taken down, found again.
    truncate -s 64M /var/tmp/volume
    said=$(
        device=$(losetup --find --show /var/tmp/volume) && pvcreate -q "$device" && vgcreate -q check "$device" &&
            lvcreate -q -Wn -L 16M -n one check && echo written > /dev/check/one && sync &&
            vgchange -q -an check && vgchange -q -ay check && head -c 7 /dev/check/one
    ) 2> $given/lvm
    if [[ $said == *written ]]; then tell lvm kept; else tell lvm "$said $(tr '\n' ';' < $given/lvm)"; fi
    vgremove -q -f check > /dev/null
fi
