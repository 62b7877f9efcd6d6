# Runs inside the guest, by its own shell; handed over as a credential.
exec > /dev/ttyS1 2> /dev/null
tell() { printf '%s=%s\n' "$1" "$2"; }
of() { systemctl show --property="$2" --value "$1"; }
# Seconds since the kernel's start, from a unit's microseconds.
seconds() { echo $(( $(of "$1" "$2") / 100000 )) | sed 's/\(.\)$/.\1/'; }

echo
tell begin 1
# Waits until no start job is left.
tell state "$(timeout 900 systemctl is-system-running --wait)"
systemctl list-units --failed --plain --no-legend | while read -r unit rest; do tell failed "$unit"; done
tell target "$(systemctl is-active multi-user.target)"
tell bless "$(systemctl is-active systemd-bless-boot.service)"
tell complete "$(systemctl is-active boot-complete.target)"
tell times "scrub $(seconds hardtack-scrub.service ExecMainStartTimestampMonotonic) to $(seconds hardtack-scrub.service ExecMainExitTimestampMonotonic), kept at $(seconds systemd-bless-boot.service ActiveEnterTimestampMonotonic) s after the kernel's start"
if grep -qE '^(default|preferred)' /boot/loader/loader.conf || [ -e /sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f ]; then
    tell pinned 'an entry'
else
    tell pinned nothing
fi
# What ends a trial ends nothing here.
systemctl start hardtack-trial.service
if [ "$(of hardtack-trial.service ActiveState)" = inactive ]; then tell trial skipped; else tell trial ran; fi

trouble=/etc/systemd/system/trouble.service
if [ ! -e $trouble ]; then
    systemctl start hardtack-update-reboot.service
    case $(journalctl --unit=hardtack-update-reboot.service --output=cat) in
        *'No version newer than'*) tell reboot 'nothing newer' ;;
        *) tell reboot "$(journalctl --unit=hardtack-update-reboot.service --output=cat | tail -n 1)" ;;
    esac
    # A user of this host's own, and one that this version seems to lack.
    echo 'byhand:x:4000:4000:By hand:/:/usr/sbin/nologin' >> /etc/passwd
    sed -i '/^systemd-network:/d' /etc/passwd /etc/group /etc/shadow /etc/gshadow
    mkdir -p /etc/systemd/system/hardtack-health.target.d /etc/systemd/system/multi-user.target.wants
    printf '[Service]\nType=oneshot\nExecStart=/bin/false\n' > $trouble
    printf '[Unit]\nRequires=trouble.service\nAfter=trouble.service\n' > /etc/systemd/system/hardtack-health.target.d/trouble.conf
    ln -s $trouble /etc/systemd/system/multi-user.target.wants/trouble.service
    tell end 1
    sync
    systemctl reboot
else
    if grep -q '^byhand:' /etc/passwd; then tell by_hand there; else tell by_hand gone; fi
    if grep -q '^systemd-network:' /etc/passwd && grep -q '^systemd-network:' /etc/group; then
        tell new_in_version there
    else
        tell new_in_version missing
    fi
    tell end 2
    sync
    systemctl poweroff
fi
